"""The core's own components, registered by the door that everybody uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from harness.contracts import TORCH, Backend, Sampler, SamplerContext
from harness.errors import HarnessError
from harness.hookspecs import hookimpl
from harness.specs import BackendSpec, MetricSpec, NoParams, Params, ReplaySpec, SamplerSpec

if TYPE_CHECKING:
    from harness.evaluation.ranking import Ranking
    from harness.testing.golden import Adapter

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
            images_per_class="m",
        ),
    ]


# --- metrics ------------------------------------------------------------------------------------

REALITY_CHECK = "arXiv:2003.08505"
REVISITING = "arXiv:2002.08473"


class CutOffParams(Params):
    """Parameters of a metric that looks at the k nearest items."""

    k: Annotated[int, Field(ge=1, description="how many nearest items count")] = 1


class SpectrumParams(Params):
    """Parameters of `spectral_decay`."""

    leave_out: Annotated[
        int, Field(ge=0, description="how many of the largest singular values to leave out")
    ] = 0
    leave_out_smallest: Annotated[
        int, Field(ge=0, description="how many of the smallest singular values to leave out")
    ] = 0


def _from_evaluation(module: str, name: str) -> Callable[[Params, None], Metric]:
    """Return the build of a function in `harness.evaluation`; parameters become keywords."""

    def build(params: Params, _: None) -> Metric:
        from functools import partial

        function = getattr(import_module(f"harness.evaluation.{module}"), name)
        return partial(function, **params.model_dump())

    return build


def _metric(module: str, name: str, summary: str, **facts: Any) -> MetricSpec:  # noqa: ANN401 - fields of the card
    """Return the card of a metric whose function has the same name."""
    return MetricSpec(name=name, summary=summary, build=_from_evaluation(module, name), **facts)


def _retrieval_metrics() -> list[MetricSpec]:
    at_k = {"params": CutOffParams}
    check = {"paper": REALITY_CHECK}
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("map_at_r", "mean average precision at R", check),
        ("r_precision", "mean precision among the R nearest", check),
        ("precision_at_1", "share of queries whose nearest item is of their class", {}),
        ("recall_at_k", "share of queries with an item of their class among the k nearest", at_k),
        ("mean_reciprocal_rank", "mean of one over the rank of the nearest item of the class", {}),
        ("mean_average_precision", "mean average precision over the whole gallery", {}),
        ("map_at_k", "mean average precision at a fixed k, at least the largest R", at_k),
        ("macro_map_at_r", "map_at_r with every class weighted equally", {}),
        ("macro_r_precision", "r_precision with every class weighted equally", {}),
        ("macro_precision_at_1", "precision_at_1 with every class weighted equally", {}),
        ("macro_recall_at_k", "recall_at_k with every class weighted equally", at_k),
    ]
    return [_metric("retrieval", name, summary, **facts) for name, summary, facts in rows]


def _rdml_metrics() -> list[MetricSpec]:
    """Return metrics as the authors of arXiv:2002.08473 define them, where that differs."""
    rows: list[tuple[str, str, dict[str, Any]]] = [
        ("rdml_recall_at_k", "recall_at_k where lone queries score 0", {"params": CutOffParams}),
        ("rdml_map", "average precision over the class size with the query", {}),
        ("rdml_map_1000", "rdml_map cut off at rank 1000", {}),
        ("rdml_map_lim", "rdml_map cut off at rank 1023", {}),
        ("rdml_map_c", "rdml_map cut off at the class size", {}),
    ]
    return [
        _metric("retrieval", name, summary, paper=REVISITING, **facts)
        for name, summary, facts in rows
    ]


def _space_metrics() -> list[MetricSpec]:
    """Return metrics of clusters and of how embeddings lie in space."""
    distance = {"paper": REVISITING, "bounds": (0.0, 2.0), "higher_is_better": False}
    decay = {"paper": REVISITING, "bounds": (0.0, inf), "higher_is_better": False}
    order = {"order_of_the_queries_does_not_matter": "k-means starts from rows by their place"}
    clusters = {"expected_failures": order}
    rows: list[tuple[str, str, str, dict[str, Any]]] = [
        ("clustering", "nmi", "mutual information of classes and k-means clusters", clusters),
        (
            "clustering",
            "ami",
            "the same, adjusted for chance",
            {**clusters, "bounds": (-1.0, 1.0)},
        ),
        (
            "clustering",
            "pairwise_f1",
            "F1 of pairs in one cluster against pairs in one class",
            clusters,
        ),
        ("diagnostics", "intra_class_distance", "mean cosine distance inside classes", distance),
        (
            "diagnostics",
            "inter_class_distance",
            "mean cosine distance of class centres",
            {
                **distance,
                "higher_is_better": True,
            },
        ),
        ("diagnostics", "intra_inter_ratio", "intra- over inter-class distance", decay),
        (
            "diagnostics",
            "spectral_decay",
            "divergence of the singular values from uniform",
            {
                **decay,
                "params": SpectrumParams,
            },
        ),
        (
            "diagnostics",
            "rdml_spectral_decay",
            "spectral_decay without the largest and the smallest singular value",
            decay,
        ),
        (
            "diagnostics",
            "spectral_decay_reverse",
            "divergence of uniform from the spectrum",
            decay,
        ),
    ]
    return [
        _metric(module, name, summary, needs_ranking=False, **facts)
        for module, name, summary, facts in rows
    ]


@hookimpl
def harness_metrics() -> Iterable[MetricSpec]:
    """Register the metrics; formulas are in the docstrings of the functions they build."""
    return [*_retrieval_metrics(), *_rdml_metrics(), *_space_metrics()]


# --- backends -----------------------------------------------------------------------------------


def _build_torch(_: NoParams, __: None) -> Backend:
    """Build `torch`: no index, the ranking's own products."""
    return TORCH


def _build_faiss(_: NoParams, __: None) -> Backend:
    """Build `faiss`.

    Raises:
        HarnessError: It is not installed.
    """
    try:
        import_module("faiss")  # before torch, which takes seconds
    except ImportError as error:
        raise HarnessError(
            f"the backend faiss needs the package faiss: {error}",
            hint='pip install "dml-harness[faiss]"',
        ) from error
    from harness.evaluation.faiss_index import FaissIndex

    return Backend("faiss", FaissIndex)


@hookimpl
def harness_backends() -> Iterable[BackendSpec]:
    """Register the backends of the evaluation; all give the same ranking, bit by bit."""
    return [
        BackendSpec(
            name="torch",
            summary="matrix products in tiles, on the CPU or a GPU; the default",
            build=_build_torch,
        ),
        BackendSpec(
            name="faiss",
            summary="flat index of faiss; needs dml-harness[faiss]",
            paper="arXiv:2401.08281",
            build=_build_faiss,
        ),
    ]


# --- replays ------------------------------------------------------------------------------------

RDML_METRICS = ("dists", "f1", "full_pipeline", "map_family", "nmi", "recall", "rho_spectrum")


def _build_replay(name: str) -> Callable[[NoParams, None], Adapter]:
    """Return the build of an adapter of golden metrics."""

    def build(_: NoParams, __: None) -> Adapter:
        return getattr(import_module("harness.testing.golden.rdml_metrics"), name)

    return build


@hookimpl
def harness_replays() -> Iterable[ReplaySpec]:
    """Register how golden cases of the metrics here are replayed."""
    return [
        ReplaySpec(
            name=f"rdml.metric.{name}",
            summary=f"Numbers of the metric {name} as arXiv:2002.08473 computes them",
            paper=REVISITING,
            build=_build_replay(name),
        )
        for name in RDML_METRICS
    ]
