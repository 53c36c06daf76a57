"""Which data a run saw: one hash of a dataset's pixels and annotations, wherever its files lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tem_seg.core.errors import UserError
from tem_seg.data.atomic import read_json
from tem_seg.data.store import canonical


def content_digest(path: Path) -> str:
    """SHA-256 (hex) of a dataset.json's images, annotations and categories, files named by the SHA-256 of their bytes.

    Raises UserError where a file is missing or cannot be read.
    """
    content = read_json(path)
    images = [
        image | {"file_name": file_digest(path.parent / image["file_name"], ", which the dataset names,")}
        for image in content["images"]
    ]
    what = {"images": images, "annotations": content["annotations"], "categories": content["categories"]}
    return hashlib.sha256(canonical(what).encode()).hexdigest()


def file_digest(path: Path, what: str = "") -> str:
    """SHA-256 (hex) of a file's bytes. what: said of it in the UserError for one that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}{what} cannot be read ({error.strerror})") from error
