"""A loss that forgets its scale."""

from harness.api import BuildContext, LossParts, LossSpec, NoParams, hookimpl


def build(params: NoParams, context: BuildContext) -> LossParts:
    from faulty_dml.objective import Scaled

    return LossParts(Scaled(context))


@hookimpl
def harness_losses() -> list[LossSpec]:
    return [LossSpec(name="faulty_scale", summary="Distances by a random scale.", build=build)]
