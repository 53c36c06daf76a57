"""What Hydra and OmegaConf complain of, said for people."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tem_seg.config.check import config_folder, known_keys, nearest


def explain(error: Exception, overrides: list[str]) -> str:
    """Hydra's and OmegaConf's complaints about a key or a choice, in a sentence with the nearest known names."""
    text = str(error).strip().split("\nConfig search path:")[0]
    key = getattr(error, "full_key", None) or _key_in(text)
    emptied = [o for o in overrides if o.endswith("=null") and (config_folder() / o.removesuffix("=null")).is_dir()]
    if emptied and "Config group override" in text:
        group = emptied[0].removesuffix("=null")
        return f"'{emptied[0]}': a part is chosen by the name of a file in conf/{group}, and left out with '~{group}'"
    if key and ("not in" in text or "not found" in text or "No match" in text):
        *parents, name = str(key).split(".")
        to_blame = [o for o in overrides if f"{key}.".startswith(f"{o.split('=')[0].lstrip('+~')}.") or str(key) in o]
        place = f" (on the command line: {to_blame[0]})" if to_blame else ""
        known = known_keys(parents) or _plugged_in_keys(parents, [o for o in overrides if o not in to_blame])
        if known and name not in known:
            return f"unknown key '{key}'{place}; {nearest(name, known)}"
    return text


def _plugged_in_keys(path: list[str], overrides: list[str]) -> list[str]:
    """Names below a plugged-in part (model, recipe, …), read from the config without the override that failed."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        try:
            node = OmegaConf.select(compose("config", [o for o in overrides if "=" in o]), ".".join(path))
        except (HydraException, OmegaConfBaseException):
            return []
    return [str(key) for key in node if not str(key).startswith("_")] if isinstance(node, DictConfig) else []


def _key_in(text: str) -> str | None:
    for line in text.splitlines():
        if "full_key:" in line:
            return line.split("full_key:")[1].strip()
        if "Key '" in line and "' is not in struct" in line:
            return line.split("Key '")[1].split("'")[0]
        if line.startswith("Could not override '"):
            return line.split("'")[1].split("@")[0]
    return None
