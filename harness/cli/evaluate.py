"""`harness evaluate`: metrics of embeddings in a file; no protocol, no training, no store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import command, with_settings
from harness.cli.output import columns, facts, json_line
from harness.errors import HarnessError
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.evaluation import Evaluation
    from harness.store.embeddings import Source

DISTANCES = ("cosine", "euclidean")
DEFAULT_METRICS = "map_at_r,r_precision,precision_at_1,recall_at_10"


@command()
@click.argument("file", required=False)
@click.option(
    "--metrics", default=DEFAULT_METRICS, show_default=True, help="Names, separated by commas."
)
@click.option("--query", metavar="SIDE", help="A file, or COLUMN=VALUE for rows of FILE.")
@click.option("--gallery", metavar="SIDE", help="The same; without it the queries are their own.")
@click.option("--distance", type=click.Choice(DISTANCES), default="cosine", show_default=True)
@click.option("--normalize/--no-normalize", help="L2-normalise first.  [no]")
@click.option("--embeddings", metavar="NAME", help="Column of the embeddings.  [embeddings]")
@click.option("--labels", metavar="NAME", help="Column of the labels.  [labels]")
@click.option("--ids", metavar="NAME", help="Column of the sample ids.  [sample_ids]")
@with_settings("backend", "memory", "device")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, on stdout.")
def evaluate(  # noqa: PLR0913 - one for each option
    file: str | None,
    *,
    metrics: str,
    query: str | None,
    gallery: str | None,
    distance: str,
    normalize: bool,
    embeddings: str | None,
    labels: str | None,
    ids: str | None,
    settings: Settings,
    as_json: bool,
) -> None:
    """Compute the metrics of saved embeddings.

    FILE is .npz or Parquet, with columns `embeddings`, `labels` and, if it has them, `sample_ids`.

    \b
    harness evaluate embeddings.npz
    harness evaluate queries.parquet --gallery gallery.parquet --metrics recall_at_1,map_at_r
    harness evaluate all.npz --query part=query --gallery part=gallery --json
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    names = tuple(filter(None, (name.strip() for name in metrics.split(","))))
    versions = _versions(names, settings)
    sources = _sources(file, query, gallery)

    from harness.store.embeddings import Names, read

    sides = read(*sources, Names(embeddings, labels, ids))

    from harness.evaluation.evaluate import evaluate_embeddings  # torch loads here
    from harness.evaluation.saved import embeddings_of
    from harness.execute.assembly import resolve_device

    device = resolve_device(settings.device)
    found = evaluate_embeddings(
        *embeddings_of(*sides, normalize=normalize, device=device),
        metrics=names,
        distance=distance,
        memory=settings.memory,
        backend=settings.backend,
    )
    _print(found, versions, normalized=normalize, as_json=as_json)


def _versions(metrics: Sequence[str], settings: Settings) -> dict[str, int]:
    """Return the definition version of each metric.

    Raises:
        HarnessError: A metric or the backend does not exist.
    """
    from harness.registry import discover
    from harness.specs import MetricSpec

    registry = discover(only=settings.load_plugins)
    registry.get("backend", settings.backend)
    cards = {name: registry.metric(name)[0].card for name in metrics}
    return {name: card.version for name, card in cards.items() if isinstance(card, MetricSpec)}


def _sources(
    file: str | None, query: str | None, gallery: str | None
) -> tuple[Source, Source | None]:
    """Return where both sides are.

    Raises:
        HarnessError: FILE is missing, or nothing is read from it.
    """
    from harness.store.embeddings import Source

    def source(side: str) -> Source:
        column, equals, value = side.partition("=")
        if not equals or Path(side).exists():
            return Source(Path(side))
        if file is None:
            raise HarnessError(f"{side!r} selects rows of FILE, and there is no FILE")
        return Source(Path(file), column, value)

    if file is None and query is None:
        raise HarnessError("missing argument 'FILE'", hint="see: harness evaluate --help")
    asked = [source(side) for side in (query, gallery) if side is not None]
    if file is not None and query is None:
        return Source(Path(file)), asked[0] if asked else None
    if file is not None and all(side.path != Path(file) for side in asked):
        raise HarnessError(f"nothing is read from {file}", hint="leave it out, or --query")
    return asked[0], asked[1] if gallery is not None else None


def _print(
    found: Evaluation, versions: Mapping[str, int], *, normalized: bool, as_json: bool
) -> None:
    """Print the values, and what they are of."""
    ranking = found.ranking
    about = {
        "num_queries": ranking.num_queries,
        "num_lone_queries": ranking.num_lone,
        "num_gallery": len(ranking.gallery),
        "gallery": "the queries" if ranking.gallery is ranking.query else "apart",
        "dimensions": int(ranking.query.values.shape[1]),
        "distance": ranking.distance,
        "normalized": normalized,
        "backend": ranking.backend,
    }
    if as_json:
        json_line({"values": dict(found), "versions": dict(versions), **about})
        return
    rows = [(name, versions[name], f"{value:.6f}") for name, value in found.items()]
    columns(("metric", "version", "value"), rows)
    click.echo()
    facts((name.replace("_", " "), value) for name, value in about.items())
