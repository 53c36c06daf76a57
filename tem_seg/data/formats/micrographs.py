"""Which micrograph a set of outlines was drawn on."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from tem_seg.core.errors import UserError
from tem_seg.data.formats.model import Annotated
from tem_seg.data.images import SUFFIXES

MASK_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_seg", "_rois", "_roi", "_m")
"""What annotation programs put behind a micrograph's name."""


class Micrographs:
    """Finds micrographs by name. paths: files, and folders with all that lies in them. stated: the user named them."""

    def __init__(self, paths: Sequence[Path], *, stated: bool) -> None:
        self.files = [file for path in paths for file in _files(path)]
        self.stated = stated
        if stated and not self.files:
            raise UserError(
                f"no micrograph in {', '.join(str(path)[:200] for path in paths)}: expected {' '.join(SUFFIXES)}"
            )
        self._by_name: dict[str, list[Path]] = {}
        for file in dict.fromkeys(self.files):
            for key in dict.fromkeys((_key(file.name), _key(file.stem))):
                self._by_name.setdefault(key, []).append(file)

    def of(self, name: str, beside: Path, hint: Path | None = None) -> Path | None:
        """The micrograph that is called ``name`` in the file ``beside``; hint: where that file says it lies.

        Of several of one name the one in folders of the same names is taken. Raises UserError where that leaves more
        than one, and where the user named micrographs and this is none of them.
        """
        for key in _keys(name):
            candidates = [path for path in self._by_name.get(key, []) if path != beside]
            if candidates:
                return _nearest(candidates, beside, name)
        if self.stated:
            if len(self.files) == 1:
                return self.files[0]
            raise UserError(f"no micrograph for {name} of {beside} among the {len(self.files)} given with --image")
        for path in (hint, beside.parent / name):
            if path is not None and path != beside and path.suffix.lower() in SUFFIXES and _is_file(path):
                return path
        return None

    def for_particles(self, one: Annotated) -> Path | None:
        """As :meth:`of`."""
        assert one.path is not None
        return self.of(one.name, one.path, one.image)


def _files(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return sorted(
            file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
    if not _is_file(path):
        raise UserError(f"no micrograph at {str(path)[:300]}")
    return [path]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _keys(name: str) -> list[str]:
    """The name, its stem, and its stem without what annotation programs put behind it."""
    stem = _key(Path(name).stem)
    plain = next((stem.removesuffix(end) for end in MASK_ENDINGS if stem.endswith(end)), stem)
    return list(dict.fromkeys((_key(name), stem, plain)))


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _nearest(candidates: list[Path], beside: Path, name: str) -> Path:
    def shared(path: Path) -> int:
        """Number of folders, from the file upwards, that are called the same."""
        ours, theirs = beside.resolve().parts[-2::-1], path.resolve().parts[-2::-1]
        return next((k for k, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), len(theirs))

    most = max(map(shared, candidates))
    best = [path for path in candidates if shared(path) == most]
    if len(best) > 1 and (same := [path for path in best if path.parent == beside.parent]):
        best = same
    if len(best) > 1:
        raise UserError(
            f"{best[0]} and {best[1]} may both be the micrograph {name} of {beside}: put micrographs and outlines in "
            "folders of the same names, or measure them apart"
        )
    return best[0]
