"""``python -m tem_seg.compare RUN_DIR… [-o compare.html]``: one page that compares runs (docs/dashboards.md)."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from tem_seg.core.errors import UserError, user_errors_exit

DEFAULT = Path("compare.html")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A fault that the user can mend ends with its text and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m tem_seg.compare", description="One HTML page that compares runs.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_DIR", help="outputs/runs/<experiment>/<time>-<id>; "
                        "differences are against the first")  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, default=DEFAULT, help="the page to write, default: %(default)s")
    parser.add_argument("--micrographs", type=int, default=4, help="shown under each model, default: %(default)s")
    given = parser.parse_args(arguments)
    with user_errors_exit("tem_seg"):
        alarms = compare(given.runs, given.out, given.micrographs)
    for alarm in alarms:
        print(f"RED FLAG: {alarm}")
    print(f"{given.out}: {len(given.runs)} runs, {given.out.stat().st_size / 1e6:.1f} MB")


def compare(folders: Sequence[Path], out: Path = DEFAULT, micrographs: int = 4) -> list[str]:
    """Writes the page; returns what makes figures not comparable. Raises UserError."""
    from tem_seg.reporting.compare import build_comparison
    from tem_seg.stages.compared import read_runs

    if len(folders) < 2:
        raise UserError(
            f"{folders[0]} alone: give at least two run directories to compare (its own page is report.html)"
        )
    if out.suffix not in (".html", ".htm") or out.is_dir():
        raise UserError(f"-o {out} is no page: name a file that ends in .html")
    if micrographs < 0:
        raise UserError(f"--micrographs must not be negative, got {micrographs}")
    return build_comparison(out, read_runs(folders), micrographs)


if __name__ == "__main__":
    main()
