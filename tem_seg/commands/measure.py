"""``tem-seg measure``: particles.csv from masks that were made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pandas as pd

    from tem_seg.commands.reading import Placed, Reading
    from tem_seg.data.coco import CocoDataset, ImageRecord
    from tem_seg.measurement.counting import Rules
    from tem_seg.measurement.particles import Counted


def measure(
    masks: Annotated[list[Path], typer.Argument(help="Files or folders: label pictures, binary masks, COCO, LabelMe, "
                                                     "VIA, QuPath GeoJSON, ImageJ ROIs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.")],
    image: Annotated[list[Path] | None, typer.Option(help="Micrographs, files or folders, found by name.")] = None,
    pixel_size: Annotated[str | None, typer.Option(help="With its unit: 0.5nm, 2.1Å. Else the files' own.")] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT px, where no file tells it.")] = None,
    connectivity: Annotated[int, typer.Option(help="Of binary masks: 8, or 4 (corners do not connect).")] = 8,
    min_score: Annotated[float, typer.Option(help="Particles with a lower score are left out.")] = 0.0,
    border: Annotated[str, typer.Option(help="Particles at the border: keep, exclude or weight.")] = "keep",
    min_size: Annotated[float, typer.Option(help="Equivalent diameter, px, below which nothing is measured.")] = 0.0,
) -> None:  # fmt: skip
    """Measures particles whose outlines were made elsewhere; writes DIR/particles.csv and what is to be known of it."""
    from tem_seg.commands.options import frame_size, pixel_size_nm
    from tem_seg.commands.reading import read_all
    from tem_seg.measurement.counting import Rules

    rules = Rules(border=border, min_size_px=min_size)
    found = read_all(
        masks, images=image or [], given_nm=pixel_size_nm(pixel_size), size=frame_size(size), connectivity=connectivity
    )
    dataset = dataset_of(found.placed, out)
    counted = _counted(dataset, found.placed, rules, min_score)
    _write(out, found, dataset, counted, rules, min_score)
    _tell(found, counted.particles, counted.effects)
    if found.flags:
        raise typer.Exit(3)


def dataset_of(placed: list[Placed], where: Path) -> CocoDataset:
    """Outlines as the dataset that measurement takes. Images get names that tell them apart."""
    from tem_seg.data.coco import CocoDataset, ImageRecord
    from tem_seg.data.formats.names import unique_files

    categories = list(dict.fromkeys(name for each in placed for name in each.one.categories)) or ["particle"]
    names = unique_files([(each.one, each.micrograph) for each in placed])
    images, annotations = [], {}
    for number, (each, name) in enumerate(zip(placed, names, strict=True), start=1):
        one, size = each.one, each.pixel_size
        source = size.source if size.value_nm is not None else None
        images.append(ImageRecord(number, Path(name), *one.size, size.value_nm, source))
        annotations[number] = [
            {"category_id": categories.index(category) + 1, "segmentation": mask}
            | ({} if score is None else {"score": score})
            for mask, category, score in zip(one.masks, one.categories, one.scores, strict=True)
        ]
    return CocoDataset(where, images, categories, list(range(1, len(categories) + 1)), annotations)


def _counted(dataset: CocoDataset, placed: list[Placed], rules: Rules, min_score: float) -> Counted:
    """Grey levels are measured where there is a micrograph for every set of outlines."""
    from tem_seg.commands.reading import frame_of, pixels_of
    from tem_seg.measurement.particles import counted

    def pixels(image: ImageRecord) -> Any:
        each = placed[image.id - 1]
        assert each.micrograph is not None
        return pixels_of(each.micrograph, frame_of(each.one, each.micrograph), image.pixel_size_nm, False)[0].pixels

    has_all = all(each.micrograph is not None for each in placed)
    return counted(dataset, dataset.annotations, rules, min_score=min_score, pixels=pixels if has_all else None)


def _write(
    out: Path, found: Reading, dataset: CocoDataset, counted: Counted, rules: Rules, min_score: float
) -> None:  # fmt: skip
    from dataclasses import asdict

    from tem_seg.core import seeds
    from tem_seg.data.atomic import write_json
    from tem_seg.measurement.arrangement import agglomerate_table, arrangement
    from tem_seg.measurement.particles import covered_px, write_table

    covered = covered_px(dataset, dataset.annotations, min_score)
    lie = arrangement(counted.measured, dataset.images, covered, seeds.child_rng(0, "arrangement"))
    write_table(out / "particles.csv", counted.particles)
    write_table(out / "agglomerates.csv", agglomerate_table(counted.measured))
    write_table(out / "images.csv", _images(found.placed, dataset, counted.particles))
    write_json(out / "measurement.json", {
        "min_score": min_score, "rules": asdict(rules), "notes": found.notes, "red_flags": found.flags,
        "skipped_files": found.skipped,
        "particles": {"measured": len(counted.measured), "counted": len(counted.particles),
                      "effects": [effect.to_json() for effect in counted.effects], "arrangement": lie},
    }, indent=1)  # fmt: skip


def _images(placed: list[Placed], dataset: CocoDataset, particles: pd.DataFrame) -> pd.DataFrame:
    """A row a micrograph: what its particles were read from."""
    import pandas as pd

    counts = particles["image_id"].value_counts()
    return pd.DataFrame([
        {"image_id": record.id, "image": record.path.name, "masks": str(each.one.path),
         "micrograph": None if each.micrograph is None else str(each.micrograph), "frame": each.one.frame,
         "height_px": record.height, "width_px": record.width, "pixel_size_nm": record.pixel_size_nm,
         "pixel_size_source": each.pixel_size.source, "outlines": len(each.one),
         "particles": int(counts.get(record.id, 0))}
        for each, record in zip(placed, dataset.images, strict=True)
    ])  # fmt: skip


def _tell(found: Reading, particles: pd.DataFrame, effects: list[Any]) -> None:
    from tem_seg.commands.options import number_of
    from tem_seg.core.weighted import quantile
    from tem_seg.measurement.counting import size_columns

    for line in [
        *found.notes,
        *(f"RED FLAG {flag}" for flag in found.flags),
        *(f"rule {effect}" for effect in effects),
    ]:
        typer.echo(line)
    skipped = f" ({number_of(found.skipped, 'file')} skipped)" if found.skipped else ""
    typer.echo(f"{number_of(len(particles), 'particle')} in {number_of(len(found.placed), 'micrograph')}{skipped}")
    unknown = [each for each in found.placed if each.pixel_size.value_nm is None]
    if unknown:
        typer.echo(f"pixel size unknown in {len(unknown)} of them: lengths are in px there; give --pixel-size for nm")
    for column in size_columns(particles) if len(particles) else []:
        values, weights = (particles[name].to_numpy(float) for name in (column, "weight"))
        typer.echo(f"median {column[:-3].replace('_', ' ')} {quantile(values, 0.5, weights):.4g} {column[-2:]}")
