"""What several commands take on the command line, read into values."""

from __future__ import annotations

import re

from tem_seg.core.errors import UserError

PIXEL_SIZE = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([^\s0-9/]+)\s*(?:/\s*(?:px|pixels?))?\s*")
FRAME = re.compile(r"\s*([0-9]{1,7})\s*[x×]\s*([0-9]{1,7})\s*")


def number_of(count: int, word: str) -> str:
    """ "1 micrograph", "2 micrographs"."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def pixel_size_nm(text: str | None) -> float | None:
    """``0.5nm``, ``0.5 nm/px``, ``2.1 Å``, ``0.001 µm`` → nm. UserError for anything else, as a number without unit."""
    if text is None:
        return None
    from tem_seg.core.units import to_nm
    from tem_seg.data.pixel_size import check_pixel_size

    found = PIXEL_SIZE.fullmatch(text)
    try:
        value = float(found[1]) if found else None
    except ValueError:
        value = None
    if found is None or value is None:
        raise UserError(f"--pixel-size {text!r}: expected a length with its unit, such as 0.5nm, 2.1Å or 0.001µm")
    return check_pixel_size(to_nm(value, found[2]))


def frame_size(text: str | None) -> tuple[int, int] | None:
    """``WIDTHxHEIGHT`` in px → (H, W). UserError for anything else."""
    if text is None:
        return None
    found = FRAME.fullmatch(text)
    if found is None or not (int(found[1]) and int(found[2])):
        raise UserError(f"--size {text!r}: expected width and height in px, such as 1024x768")
    return int(found[2]), int(found[1])
