"""``python scripts/wandb_report.py --entity TEAM``: a W&B workspace or report that compares runs (docs/dashboards.md).

What is shown is built offline and can be looked at with ``--dry-run``; saving it needs an API key and the server.
"""

from __future__ import annotations

import argparse
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from tem_seg.core.errors import UserError, user_errors_exit
from tem_seg.reporting.wandb_log import INIT_TIMEOUT_S, PANELS, STEP, has_key

KINDS = ("workspace", "report")
COLUMNS = ("test/ap", "test/ap50", "test/f1", "sizes/median_equivalent_diameter_nm", "cost/train/wall_s")
"""Shown beside each run's name."""
MAX_RUNS = 50
"""Lines in a plot of the workspace."""
Panels = dict[str, list[Any]]
"""Section → its panels."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point. A fault that the user can mend ends with its text and exit code 2."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entity", required=True, help="the W&B user or team that the project belongs to")
    parser.add_argument("--project", default="tem_seg", help="logger.project of the runs, default: %(default)s")
    parser.add_argument("--experiment", nargs="+", default=[], help="only runs of these experiments; default: all")
    parser.add_argument("--kind", choices=KINDS, default="workspace", help="default: %(default)s")
    parser.add_argument("--title", default="tem_seg: experiments side by side")
    parser.add_argument("--dry-run", action="store_true", help="print the specification as JSON; no key, no network")
    given = parser.parse_args(arguments)
    with user_errors_exit("wandb_report"):
        built = build(given.kind, given.entity, given.project, given.title, given.experiment)
        print(specification(built) if given.dry_run else save(built))


# ------------------------------------------------------------------------------------------------- what is shown


def build(kind: str, entity: str, project: str, title: str, experiments: Sequence[str]) -> Any:
    """A Workspace or a Report, offline. experiments: whose runs are shown; [] for all."""
    return (_workspace if kind == "workspace" else _report)(entity, project, title, experiments)


def panels() -> Panels:
    """Section → panels, the same in both kinds. Several runs of an experiment are shown as mean and SD."""
    import wandb_workspaces.reports.v2 as wr

    spread: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}

    def curve(title: str, *keys: str, **more: Any) -> Any:
        return wr.LinePlot(title=title, x=STEP, y=list(keys), **more)

    def bars(title: str, *keys: str) -> Any:
        return wr.BarPlot(title=title, metrics=[wr.SummaryMetric(key) for key in keys], **spread)

    return {
        "Detection": [
            bars("AP on the test micrographs", "test/ap"), bars("AP50", "test/ap50"), bars("F1 at IoU 0.5", "test/f1"),
            _chart("test/precision_recall", "recall", "precision"), _chart("test/f1_over_score", "score", "f1"),
        ],
        "Test micrographs": [
            wr.MediaBrowser(title="predicted and annotated", media_keys=["test/overlays"], num_columns=2),
        ],
        "Sizes": [
            bars("median diameter, nm", "sizes/median_equivalent_diameter_nm",
                 "sizes/median_equivalent_diameter_nm_annotated"),
            wr.WeavePanelSummaryTable(table_name="test/particles"),
        ],
        "Training": [
            curve("AP on validation", "val/ap", **spread), curve("AP on training micrographs", "train/ap", **spread),
            curve("loss", "train/loss", log_y=True, smoothing_factor=0.6),
            wr.MediaBrowser(title="validation micrographs", media_keys=[PANELS], num_columns=1),
        ],
        "Cost and settings": [bars("training, s", "cost/train/wall_s"), wr.RunComparer(diff_only="split")],
    }  # fmt: skip


def _chart(key: str, x: str, y: str) -> Any:
    """A chart of a table that reporting.wandb_results logged with wandb.plot.line, all runs in one."""
    import wandb_workspaces.reports.v2 as wr

    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{key}_table"}}, chart_name="wandb/line/v0",
        chart_fields={"x": x, "y": y}, chart_strings={"title": f"{y} over {x} at IoU 0.5"},
    )  # fmt: skip


def _filters(experiments: Sequence[str]) -> list[Any]:
    """By group, which is the experiment. Its name is in the config too, but wandb-workspaces takes Config("name") for
    the run's id."""
    from wandb_workspaces import expr

    return [expr.Metric("Group").isin(list(experiments))] if experiments else []


def _workspace(entity: str, project: str, title: str, experiments: Sequence[str]) -> Any:
    import wandb_workspaces.workspaces as ws

    return ws.Workspace(
        entity=entity, project=project, name=title,
        sections=[ws.Section(name=name, panels=shown, is_open=True) for name, shown in panels().items()],
        settings=ws.WorkspaceSettings(x_axis=STEP, max_runs=MAX_RUNS), auto_generate_panels=True,
        runset_settings=ws.RunsetSettings(
            filters=_filters(experiments), groupby=[ws.Metric("Group")],
            pinned_columns=[f"summary:{column}" for column in COLUMNS],
        ),
    )  # fmt: skip


def _report(entity: str, project: str, title: str, experiments: Sequence[str]) -> Any:
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents()]
    for name, shown in panels().items():
        # no entity and project: those of the report, which need no look at the server
        runs = wr.Runset(name="runs", filters=_filters(experiments), groupby=["Group"])
        blocks += [wr.H1(text=name), wr.PanelGrid(runsets=[runs], panels=shown)]
    which = ", ".join(experiments) or "all experiments"
    return wr.Report(entity=entity, project=project, title=title, description=f"Runs of {which}.", blocks=blocks)


def specification(built: Any) -> str:
    """What would be saved, as JSON."""
    return str(built._to_model().model_dump_json(by_alias=True, exclude_none=True, indent=1))


# ------------------------------------------------------------------------------------------------- saving


def save(built: Any) -> str:
    """Saves it and returns its address. Raises UserError without a key, without an answer, and where W&B refuses."""
    import wandb

    if not has_key():
        raise UserError(
            "no API key is known: set WANDB_API_KEY or run `wandb login`; --dry-run shows the page's specification "
            "without one"
        )
    _reach(wandb.setup().settings.base_url)
    try:
        built.save()
    except (wandb.errors.Error, OSError, ValueError) as error:
        raise UserError(
            f"W&B did not take it for project {built.entity}/{built.project} ({_first_line(error)}): check --entity, "
            "--project and the key"
        ) from error
    return str(built.url)


def _reach(server: str) -> None:
    """W&B's client tries again for minutes; so it is asked first whether anybody is there."""
    try:
        urllib.request.urlopen(server, timeout=INIT_TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return  # it answers
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{server} does not answer within {INIT_TIMEOUT_S:.0f} s ({reason}): run this where the network reaches "
            "W&B (WANDB_BASE_URL names a server of your own), or look at the specification with --dry-run"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


if __name__ == "__main__":
    main()
