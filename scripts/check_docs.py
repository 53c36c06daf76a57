"""Checks that what README.md and docs/ name is there: links, files, make targets, config choices.

    python scripts/check_docs.py

Prints one line a fault (file:line: what is missing) and exits with 1 if there is any. Needs the standard library
only. A name that the reader is to make up starts with ``my_`` or is written in capitals: it is taken as given.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^(```|~~~)")
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)")
FILE = re.compile(r"(?<![\w./<>-])((?:tem_seg|conf|docs|scripts|tests)/\w[\w./-]*)(?![\w./*<{…-])")
MAKE = re.compile(r"(?:^|[$&;] )make((?: +[\w=./-]+)+)")
CHOICE = re.compile(r"(?<![\w.@/])(\w+)=([\w,]+)")
READERS_OWN = "my_"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a page: its text without code (for links), and the pieces of code in it."""

    number: int
    text: str
    prose: str
    code: tuple[str, ...]


def lines_of(page: str) -> Iterator[Line]:
    """The lines of a Markdown page; inside a fence all is code."""
    fenced = False
    for number, text in enumerate(page.splitlines(), start=1):
        if FENCE.match(text.strip()):
            fenced = not fenced
        elif fenced:
            yield Line(number, text, "", (text.split(" #")[0].strip(),))
        else:
            yield Line(number, text, CODE.sub("", text), tuple(CODE.findall(text)))


def anchors(page: str) -> set[str]:
    """What may stand after # in a link to this page: GitHub's names of its headings."""
    titles = (line.text.lstrip("#").strip() for line in lines_of(page) if line.prose.startswith("#"))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def link_faults(page: Path, line: Line) -> Iterator[str]:
    """Relative links whose file, or whose heading in it, is not there."""
    for target in LINK.findall(line.prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            yield f"link to {target}, which does not exist"
        elif anchor and anchor not in anchors(file.read_text(encoding="utf-8")):
            yield f"link to {target}, but {file.name} has no such heading"


def file_faults(root: Path, line: Line) -> Iterator[str]:
    """Named files of the project that do not exist; patterns (* < {) are passed over."""
    for name in FILE.findall(line.text if not line.prose else LINK.sub("", line.text)):
        path = name.rstrip(".-")
        if not (root / path).exists() and not Path(path).name.startswith(READERS_OWN):
            yield f"{path} does not exist"


def command_faults(line: Line, targets: set[str], choices: dict[str, set[str]]) -> Iterator[str]:
    """Make targets that the Makefile lacks, and config choices (experiment=…, profile=…) that conf/ lacks."""
    for code in line.code:
        words = [word for found in MAKE.findall(code) for word in found.split() if "=" not in word]
        yield from (f"make {word}: no such target" for word in words if word not in targets)
        for group, names in CHOICE.findall(code):
            for name in filter(None, names.split(",")):
                known = choices.get(group)
                if known is not None and name not in known and not (name.startswith(READERS_OWN) or name.isupper()):
                    yield f"{group}={name}: conf/{group} has {', '.join(sorted(known))}"


def make_targets(root: Path) -> set[str]:
    """Targets of the Makefile."""
    return set(re.findall(r"^([a-z_-]+):", (root / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def config_choices(root: Path) -> dict[str, set[str]]:
    """Names of the files of every config group; ``null`` chooses nothing."""
    groups = sorted(path for path in (root / "conf").iterdir() if path.is_dir())
    return {group.name: {file.stem for file in group.glob("*.yaml")} | {"null"} for group in groups}


def check(root: Path) -> tuple[list[Path], list[str]]:
    """The pages of the project at ``root``, and one line a fault."""
    pages = [page for page in (root / "README.md", *sorted((root / "docs").rglob("*.md"))) if page.is_file()]
    targets, choices = make_targets(root), config_choices(root)
    faults = []
    for page in pages:
        for line in lines_of(page.read_text(encoding="utf-8")):
            found = [*link_faults(page, line), *file_faults(root, line), *command_faults(line, targets, choices)]
            faults += [f"{page.relative_to(root)}:{line.number}: {text}" for text in found]
    return pages, faults


def main(root: Path = ROOT) -> int:
    """Exit code 0 when all is there, else 1."""
    pages, faults = check(root)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    print(f"{len(pages)} pages: every link, file, make target and config choice that they name is there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
