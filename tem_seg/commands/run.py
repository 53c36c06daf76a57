"""``tem-seg run``: the Hydra app, ``python -m tem_seg.run``, with all its arguments."""

from __future__ import annotations

import typer


def run(context: typer.Context) -> None:
    """Trains and evaluates models: generate, train, predict, evaluate, measure, report (docs/configuration.md)."""
    import sys

    from tem_seg import run as app

    # everything that follows reads the command line as the module's own, also processes that it starts
    sys.argv = [str(app.__file__), *context.args]
    app.main(context.args)
