"""The core's own components, registered by the door that everybody uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness.contracts import Sampler, SamplerContext
from harness.hookspecs import hookimpl
from harness.specs import MetricSpec, NoParams, Params, SamplerSpec

if TYPE_CHECKING:
    from harness.evaluation.ranking import Ranking

    Metric = Callable[[Ranking], float]

# --- samplers -----------------------------------------------------------------------------------


class MPerClassParams(Params):
    """Parameters of `m_per_class`."""

    m: Annotated[int, Field(ge=1, le=1024, description="images of each class in a batch")] = 4
    replacement: Annotated[
        bool,
        Field(
            description="draw the images of every class with replacement; a class with fewer "
            "than m images always is"
        ),
    ] = False
    streaming: Annotated[
        bool,
        Field(
            description="cut one long list of passes over all classes into batches, as the code "
            "of arXiv:2003.08505 does; some batches then hold a class twice"
        ),
    ] = False


def _build_random(_: NoParams, context: SamplerContext) -> Sampler:
    """Build `random`."""
    from harness.training.samplers import RandomBatches

    return RandomBatches(context)


def _build_m_per_class(params: MPerClassParams, context: SamplerContext) -> Sampler:
    """Build `m_per_class`, the streaming one if asked for."""
    from harness.training.samplers import MPerClassBatches, MPerClassStream

    kind = MPerClassStream if params.streaming else MPerClassBatches
    return kind(context, m=params.m, replacement=params.replacement)


@hookimpl
def harness_samplers() -> Iterable[SamplerSpec]:
    """Register the samplers."""
    return [
        SamplerSpec(
            name="random",
            summary="all rows in random order; the last, incomplete batch is left out",
            build=_build_random,
        ),
        SamplerSpec(
            name="m_per_class",
            summary="m images of each of batch_size / m classes",
            params=MPerClassParams,
            build=_build_m_per_class,
        ),
    ]


# --- metrics ------------------------------------------------------------------------------------


class CutOffParams(Params):
    """Parameters of a metric that looks at the k nearest items."""

    k: Annotated[int, Field(ge=1, description="how many nearest items count")] = 1


def _build_recall_at_k(params: CutOffParams, _: None) -> Metric:
    """Build `recall_at_k`."""
    from functools import partial

    from harness.evaluation.retrieval import recall_at_k

    return partial(recall_at_k, k=params.k)


def _retrieval(name: str) -> Callable[[NoParams, None], Metric]:
    """Return the build of a metric in `harness.evaluation.retrieval`."""

    def build(_: NoParams, __: None) -> Metric:
        from harness.evaluation import retrieval

        return getattr(retrieval, name)

    return build


@hookimpl
def harness_metrics() -> Iterable[MetricSpec]:
    """Register the metrics; formulas are in the docstrings of the functions they build."""
    return [
        MetricSpec(
            name="map_at_r",
            summary="mean average precision at R",
            paper="arXiv:2003.08505",
            build=_retrieval("map_at_r"),
        ),
        MetricSpec(
            name="r_precision",
            summary="mean precision among the R nearest",
            paper="arXiv:2003.08505",
            build=_retrieval("r_precision"),
        ),
        MetricSpec(
            name="precision_at_1",
            summary="share of queries whose nearest item is of their class",
            build=_retrieval("precision_at_1"),
        ),
        MetricSpec(
            name="recall_at_k",
            summary="share of queries with an item of their class among the k nearest",
            params=CutOffParams,
            build=_build_recall_at_k,
        ),
        MetricSpec(
            name="mean_reciprocal_rank",
            summary="mean of one over the rank of the nearest item of the class",
            build=_retrieval("mean_reciprocal_rank"),
        ),
    ]
