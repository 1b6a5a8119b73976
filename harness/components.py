"""The core's own components, registered by the door that everybody uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from harness.contracts import Sampler, SamplerContext
from harness.hookspecs import hookimpl
from harness.specs import NoParams, Params, SamplerSpec

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
