"""`harness data sample`: look at training batches before spending a week on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import command, with_method, with_settings
from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image

    from harness.plan import Request


@command("sample")
@click.argument("protocol")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default="sheet.png",
    show_default=True,
    help="File to write, a PNG.",
)
@click.option(
    "--rows", type=click.IntRange(1, 200), default=8, show_default=True, help="Classes to show."
)
@click.option(
    "--columns",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Most images of a class and batch.",
)
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Of the run  [the protocol's]")
@click.option("--fold", type=click.IntRange(0), metavar="N", help="Of the run  [the protocol's]")
@with_method
@with_settings("data")
def sample_data(  # noqa: PLR0913 - one per option
    protocol: str,
    *,
    request: Request,
    settings: Settings,
    output: Path,
    rows: int,
    columns: int,
    seed: int | None,
    fold: int | None,
) -> None:
    """Draw the first training batches of a run, augmented, one row of images per class.

    These are the very batches that `harness run` trains on with the same options, seed and fold.

    \b
    harness data sample protocols/mlrc_cub.yaml -o sheet.png
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from dataclasses import replace

    from harness.plan import make_feed
    from harness.protocol import load
    from harness.registry import discover

    _check_output(output)
    request = replace(
        request,
        seeds=None if seed is None else (seed,),
        folds=None if fold is None else (fold,),
    )
    feed = make_feed(load(protocol), discover(only=settings.load_plugins), request)

    from harness.execute.sheets import contact_sheet

    sheet = contact_sheet(feed, data_root=settings.data, rows=rows, columns=columns)
    _save(sheet.image, output)
    click.echo(
        f"{output}: {_count(sheet.num_images, 'image')} of {sheet.size[0]}x{sheet.size[1]}, "
        f"{_count(sheet.num_classes, 'class', 'classes')}, "
        f"{_count(sheet.num_batches, 'batch', 'batches')}"
    )


def _check_output(output: Path) -> None:
    """Refuse what cannot be written before anything is read."""
    if output.suffix.lower() != ".png":
        raise HarnessError(
            f"-o {output}: a sheet is a PNG", hint=f"-o {output.with_suffix('.png')}"
        )
    if not output.parent.is_dir():
        raise HarnessError(f"-o {output}: there is no folder {output.parent}")
    if output.is_dir():
        raise HarnessError(f"-o {output} is a folder", hint=f"-o {output / 'sheet.png'}")


def _save(image: Image, output: Path) -> None:
    """Write the file, whole or not at all."""
    temporary = output.with_name(f".{output.name}.tmp")
    try:
        image.save(temporary, "PNG")
        temporary.replace(output)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
