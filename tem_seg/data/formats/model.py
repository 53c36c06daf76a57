"""What every format is read into and written from: the particles of one micrograph, and what a reader is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tem_seg.core.errors import UserError
from tem_seg.core.types import Rle

PARTICLE = "particle"
"""Class of what a file gives no class."""
MOST_BYTES = 2**28
"""Of a text file (256 MiB, some 10^7 points): more was made to fill the memory, or belongs into several files."""
Size = tuple[int, int]
SizeOf = Callable[[str], Size | None]
"""Name of a micrograph → its (H, W) px, for files that do not state it."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """Particles of one micrograph, as a file holds them; overlapping ones keep their own masks.

    name: the micrograph's, as the file states it, or that of the file. size: (H, W) px. categories, scores: one a mask,
    None where there is no score. frame: of a micrograph of several, from 0. path: the file that was read.
    image: where the file says that its micrograph lies; it may not be there.
    """

    name: str
    size: Size
    masks: list[Rle] = field(repr=False)
    categories: list[str] = field(repr=False)
    scores: list[float | None] = field(repr=False)
    pixel_size_nm: float | None = None
    pixel_size_source: str | None = None
    frame: int | None = None
    path: Path | None = None
    image: Path | None = None

    def __post_init__(self) -> None:
        count = len(self.masks)
        if (len(self.categories), len(self.scores)) != (count, count):
            raise ValueError(f"{count} masks, but {len(self.categories)} categories and {len(self.scores)} scores")
        if odd := [mask["size"] for mask in self.masks if tuple(mask["size"]) != tuple(self.size)]:
            raise ValueError(f"a mask has size {odd[0]}, its micrograph {list(self.size)}")

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def title(self) -> str:
        """Name for people: "a.tif", of a stack "a.tif, frame 3"."""
        return self.name if self.frame is None else f"{self.name}, frame {self.frame}"


@dataclass(frozen=True, slots=True)
class Found:
    """images: what a file holds, one entry a micrograph. notes: sentences on what it holds beside, and was left out."""

    images: list[Annotated]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """A file to be read, and what a reader may need to know beside: sizes, and how regions of binary masks connect."""

    path: Path
    size_of: SizeOf = lambda name: None
    connectivity: int = 8

    @cached_property
    def head(self) -> bytes:
        """The first bytes, without a byte-order mark. UserError where there is no file, or an empty one."""
        try:
            with self.path.open("rb") as file:
                head = file.read(4096)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{str(self.path)[:300]} cannot be read ({reason})") from error
        if not head:
            raise UserError(f"{self.path} is empty (0 bytes): copy it again from where it came from")
        return head.removeprefix(b"\xef\xbb\xbf")

    @cached_property
    def text(self) -> str:
        """The whole file, which must be text of a size that can be held."""
        if (size := self.path.stat().st_size) > MOST_BYTES:
            raise UserError(
                f"{self.path} has {size:,} bytes, more than {MOST_BYTES:,}: outlines are not that long; split it into "
                "a file for each micrograph, or convert it to COCO with run-length masks"
            )
        try:
            return self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.path} is no text in UTF-8 ({error.reason}): save it as UTF-8") from error

    @cached_property
    def json(self) -> Any:
        """The parsed file; None where it does not look like JSON. UserError where it does and is damaged."""
        if not self.head.lstrip().startswith((b"{", b"[")):
            return None
        try:
            return json.loads(self.text)
        except RecursionError as error:
            raise UserError(f"{self.path} is nested too deeply for any annotation: it is damaged") from error
        except ValueError as error:  # also numbers of more digits than Python reads
            raise UserError(f"{self.path} is not valid JSON ({error}): save it again where it was made") from error

    def needed_size(self, name: str) -> Size:
        """(H, W) of a micrograph that the file does not tell; UserError where nobody knows it."""
        found = self.size_of(name)
        if found is None:
            raise UserError(
                f"{self.path} does not say how large its micrograph {name} is: give the micrographs with --image, or "
                "the size with --size WIDTHxHEIGHT"
            )
        return found
