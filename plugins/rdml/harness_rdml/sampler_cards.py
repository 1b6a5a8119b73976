"""Cards of the samplers of Revisiting Training Strategies.

Its four samplers that pick batches by their embeddings are not among them; see `selection`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from harness.api import NoParams, Params, Sampler, SamplerContext, SamplerSpec

PAPER = "arXiv:2002.08473"


class ClassRandomParams(Params):
    """Parameters of `rdml_class_random`."""

    m: Annotated[int, Field(ge=1, le=1024, description="images drawn of each class drawn")] = 2


def build_class_random(params: ClassRandomParams, context: SamplerContext) -> Sampler:
    """Build `rdml_class_random`."""
    from harness_rdml.samplers import ClassRandomBatches

    return ClassRandomBatches(context, m=params.m)


def build_full_random(_: NoParams, context: SamplerContext) -> Sampler:
    """Build `rdml_full_random`."""
    from harness_rdml.samplers import FullRandomBatches

    return FullRandomBatches(context)


SAMPLERS = (
    SamplerSpec(
        name="rdml_class_random",
        summary="m images of each of batch_size / m classes, both drawn with replacement",
        paper=PAPER,
        params=ClassRandomParams,
        build=build_class_random,
    ),
    SamplerSpec(
        name="rdml_full_random",
        summary="An image of a random class, over and over, and one that has a partner",
        paper=PAPER,
        build=build_full_random,
    ),
)
