"""What is drawn, as recorded: a dataset's name does not change with the code, only with GENERATOR_VERSION.

Record anew, after raising it: python tests/generation/test_generator_version.py
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from tem_seg.data.store import canonical
from tem_seg.generation.dataset import dataset_identity
from tem_seg.generation.render import GENERATOR_VERSION, image_at

CONF = Path(__file__).resolve().parents[2] / "conf"
RECORD = Path(__file__).with_name("drawn.json")
SIDE, BLOCKS = 384, 4
DRAWN = {
    "gold_aunp": "bright_field", "vesicles": "vesicles_bright_field", "nanorods_haadf": "haadf",
    "catalyst_haadf": "haadf", "polylatex_silica": "holey_carbon", "sem_agglomerates": "sem",
    "insitu_video": "insitu",
}  # fmt: skip
"""Recipes that need no real micrographs, and their imaging."""


def picture(name: str) -> dict[str, Any]:
    """What the first micrographs of a shipped recipe look like: mean grey level of each of 16 blocks, and particles;
    and the name under which a dataset of them would be kept."""
    recipe = instantiate(OmegaConf.load(CONF / "recipe" / f"{name}.yaml"))
    imaging = instantiate(OmegaConf.load(CONF / "imaging" / f"{DRAWN[name]}.yaml"))
    drawn = [image_at(recipe, imaging, (SIDE, SIDE), 0, "train", index) for index in range(3)]
    side = SIDE // BLOCKS
    blocks = (
        np.stack([one.micrograph.pixels for one in drawn]).reshape(-1, BLOCKS, side, BLOCKS, side).mean(axis=(2, 4))
    )
    identity = canonical(dataset_identity(recipe, imaging, {}, (SIDE, SIDE), 0))
    return {
        "identity": hashlib.sha256(identity.encode()).hexdigest()[:12],
        "particles": [len(one.instances.labels) for one in drawn],
        "blocks": blocks.round().astype(int).reshape(len(drawn), -1).tolist(),
    }


@pytest.mark.parametrize("name", DRAWN)
def test_what_is_drawn_changes_with_the_datasets_name(name: str) -> None:
    """Else a dataset drawn by older code would be taken for one of today's."""
    recorded, now = json.loads(RECORD.read_text())[name], picture(name)
    alike = now["particles"] == recorded["particles"] and np.allclose(now["blocks"], recorded["blocks"], atol=1)
    if now["identity"] == recorded["identity"]:
        assert alike, f"{name} is drawn otherwise than recorded: raise GENERATOR_VERSION ({GENERATOR_VERSION})"
    else:
        pytest.fail(f"{name} or GENERATOR_VERSION was changed: python {Path(__file__).name} records what is drawn now")


if __name__ == "__main__":
    RECORD.write_text("{\n" + ",\n".join(f'"{name}": {json.dumps(picture(name))}' for name in DRAWN) + "\n}\n")
