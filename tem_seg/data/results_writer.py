"""predictions.json written image by image: what is on the disk is not in memory, and outlives a killed process.

Until the last image is in, rows lie in ``.<name>.part`` beside it, one JSON line an image. The same predictions started
again go on there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tem_seg.data.atomic import replacing


class ResultsWriter:
    """Use with ``with``. key: all that the predictions depend on, JSON-able; a part made with another is begun anew.

    done: what ``add`` was told of the images that lie in the part already, by image id.
    """

    def __init__(self, path: Path, key: dict[str, Any]) -> None:
        self.path = path
        self.done: dict[int, dict[str, Any]] = {}
        self._part = path.with_name(f".{path.name}.part")
        self._head = _line({"key": key})
        self._file: BinaryIO | None = None

    def __enter__(self) -> ResultsWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        end = self._resume()
        self._file = self._part.open("r+b" if end else "w+b")
        self._file.truncate(end)  # a line that was being written when the process died
        self._file.seek(end)
        if not end:
            self._file.write(self._head)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        assert self._file is not None
        self._file.close()

    def _resume(self) -> int:
        """Reads what is there; the number of bytes that are sound, 0 for nothing of use."""
        if not self._part.is_file():
            return 0
        with self._part.open("rb") as part:
            if part.readline() != self._head:
                return 0
            end = len(self._head)
            for line in part:
                if not line.endswith(b"\n"):
                    break
                head = json.loads(line)
                self.done[head["image_id"]] = head["notes"]
                end += len(line)
        return end

    def add(self, image_id: int, rows: list[dict[str, Any]], notes: dict[str, Any]) -> None:
        """One image's COCO results, and what is to be known of it when the part is read again."""
        assert self._file is not None
        self._file.write(_line({"image_id": image_id, "notes": notes, "results": rows}))
        self._file.flush()
        self.done[image_id] = notes

    def finish(self, info: dict[str, Any]) -> None:
        """Writes ``{"info": …, "results": […]}`` atomically, an image at a time, and removes the part."""
        assert self._file is not None
        self._file.flush()
        with replacing(self.path) as temporary, temporary.open("w", encoding="utf-8") as whole:
            whole.write(f'{{"info": {json.dumps(info, allow_nan=False)}, "results": [')
            for number, row in enumerate(self._rows()):
                whole.write((", " if number else "") + json.dumps(row, allow_nan=False))
            whole.write("]}\n")
        self._part.unlink()

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self._part.open("rb") as part:
            part.readline()
            for line in part:
                yield from json.loads(line)["results"]


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode() + b"\n"
