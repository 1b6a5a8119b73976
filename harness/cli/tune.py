"""`harness tune`: look for good values of methods, then run them with those."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import REPEAT_FLAGS, Indices, command, with_method, with_settings
from harness.cli.study import SETTINGS, do_work, with_pool
from harness.settings import Settings

if TYPE_CHECKING:
    from harness.plan import Request

SAMPLERS = ("tpe", "random", "grid")


@command()
@click.argument("protocol")
@with_method
@REPEAT_FLAGS[0]
@REPEAT_FLAGS[1]
@click.option(
    "--trials", type=click.IntRange(1, 100_000), default=50, show_default=True, metavar="N",
    help="Sets of values to try, the method's own first.",
)  # fmt: skip
@click.option(
    "--sampler",
    type=click.Choice(SAMPLERS),
    default=SAMPLERS[0],
    show_default=True,
    help="What is tried next.",
)
@click.option(
    "--search-seed", type=click.IntRange(0), default=0, show_default=True, metavar="N",
    help="Of the sampler.",
)  # fmt: skip
@click.option(
    "--trial-seeds", type=Indices(), default="1000", show_default=True, metavar="LIST",
    help="Repeats of each trial; the final runs have others.",
)  # fmt: skip
@with_settings(*SETTINGS)
@with_pool
def tune(  # noqa: PLR0913 - one argument per option
    protocol: str,
    *,
    request: Request,
    seeds: tuple[int, ...] | None,
    folds: tuple[int, ...] | None,
    settings: Settings,
    trials: int,
    sampler: str,
    search_seed: int,
    trial_seeds: tuple[int, ...],
    **options: Any,  # noqa: ANN401 - POOL_FLAGS
) -> int:
    """Search good values for methods, then run them with those.

    Values are compared on the validation part, never on the test part. Each loss begins a method;
    what is searched stands on the cards of its components (`harness show loss NAME`), but for
    what --set says. A study file can give other intervals.

    \b
    harness tune omniglot_small --plugin hist --trials 50 --seeds 0-4
    harness tune omniglot_small --plugin hist --plugin contrastive --sampler random --jobs 2
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from harness.protocol import load
    from harness.registry import discover
    from harness.study.cells import study_from
    from harness.study.document import searched
    from harness.study.work import work_of

    registry = discover(only=settings.load_plugins)
    rule = {"trials": trials, "sampler": sampler, "seed": search_seed, "seeds": trial_seeds}
    request = replace(request, seeds=seeds, folds=folds)
    study = searched(study_from("tune", protocol, request, registry), rule)
    work = work_of(study, registry, [load(protocol)], smoke=options["smoke"])
    return do_work(work, registry, settings, options, command="the same command")
