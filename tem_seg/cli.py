"""``tem-seg``: for people with micrographs and no wish to write YAML. ``tem-seg-run`` is the Hydra app."""

from __future__ import annotations

import io
import sys

import typer

from tem_seg.commands.analyze import analyze
from tem_seg.commands.convert import convert
from tem_seg.commands.info import info
from tem_seg.commands.measure import measure
from tem_seg.commands.run import run
from tem_seg.core.errors import user_errors_exit

app = typer.Typer(
    help="Micrographs to size distributions, and outlines between programs.", no_args_is_help=True,
    add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
app.command()(analyze)
app.command()(info)
app.command()(measure)
app.command()(convert)
app.command(
    add_help_option=False, context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(run)  # fmt: skip


def main() -> None:
    """Entry point. Exit codes: 0 fine, 2 something that the user can mend, 3 done, but with red flags."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # names and arrows on terminals that do not know them
    try:
        with user_errors_exit("tem-seg"):
            app()
    except OSError as error:  # a full disk, a folder that may not be written
        print(f"tem-seg: {error.filename}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
