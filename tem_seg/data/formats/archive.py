"""ZIP archives from anywhere: refused by count, size, ratio and names before anything is unpacked."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from tem_seg.core.errors import UserError

MOST_ENTRIES = 65_534
MOST_DIRECTORY = 2**24
"""Bytes of the list of entries: zipfile makes objects of all of it at once."""
MOST_ENTRY = 2**24
"""Unpacked bytes of one entry; a region of a million points has 12 MB."""
MOST_TOTAL = 2**28
MOST_RATIO = 200
RATIO_FROM = 2**16
"""Unpacked bytes below which the ratio does not matter."""
END, END64 = b"PK\5\6", b"PK\6\7"


def entries(path: Path, suffix: str) -> list[tuple[str, bytes]]:
    """Names and bytes of an archive's entries, which must all end in ``suffix``; in the archive's order.

    Raises UserError for what is damaged, encrypted, too large, or has names that lead out of a folder.
    """
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not _is_litter(info)]
            _check(path, infos, suffix)
            return [(info.filename, _bytes(archive, info)) for info in infos]
    except UserError:
        raise
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError, EOFError) as error:
        raise UserError(f"{path} is a damaged or encrypted ZIP archive ({error}): save it again") from error
    except Exception as error:  # zlib and other decompressors have errors of their own
        raise UserError(f"{path} is a damaged ZIP archive ({error}): save it again") from error


def _is_litter(info: zipfile.ZipInfo) -> bool:
    """Folders, and what macOS adds to archives."""
    return info.is_dir() or info.filename.startswith("__MACOSX/") or info.filename.endswith(".DS_Store")


def _check_directory(path: Path) -> None:
    """The list's size as the archive's end states it, which is all that zipfile reads."""
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - 2**16 - 64))
        tail = file.read()
    place = tail.rfind(END)
    if place < 0 or len(tail) < place + 22:
        raise UserError(f"{path} is a ZIP archive without an end: it is truncated, copy it again")
    if END64 in tail[max(0, place - 20) : place]:
        raise UserError(f"{path} is a ZIP archive of the 64-bit kind: no set of regions is that large")
    count, size = struct.unpack("<HI", tail[place + 10 : place + 16])
    if count > MOST_ENTRIES or size > MOST_DIRECTORY:
        raise UserError(f"{path} claims {count:,} entries in a list of {size:,} bytes: no set of regions is that large")


def _check(path: Path, infos: list[zipfile.ZipInfo], suffix: str) -> None:
    total = 0
    for info in infos:
        name = info.filename[:200]
        parts = info.filename.replace("\\", "/").split("/")
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise UserError(
                f"{path} holds the name {name!r}, which leads out of its folder: the archive may be harmful"
            )
        if not info.filename.lower().endswith(suffix):
            raise UserError(f"{path} holds {name!r}: expected an archive of {suffix} files alone, as ImageJ saves it")
        total += info.file_size
        if info.file_size > MOST_ENTRY or total > MOST_TOTAL:
            most = MOST_ENTRY if info.file_size > MOST_ENTRY else MOST_TOTAL
            raise UserError(
                f"{path} would unpack to more than {most:,} bytes ({name}): the archive may be a bomb; save fewer "
                "regions in it"
            )
        if info.file_size > RATIO_FROM and info.file_size > MOST_RATIO * max(info.compress_size, 1):
            raise UserError(
                f"{path}: {name} would unpack to {info.file_size // max(info.compress_size, 1)} times its size: the "
                "archive may be a bomb, no outline is that regular"
            )


def _bytes(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """At most what was said; zipfile compares the checksum at the end."""
    with archive.open(info) as file:
        return file.read(info.file_size + 1)
