"""A loss and an entry point with names that somebody else has already."""

from harness.api import BuildContext, LossParts, LossSpec, NoParams, hookimpl


def build(params: NoParams, context: BuildContext) -> LossParts:
    """Refuse; only the card matters here."""
    raise NotImplementedError


@hookimpl
def harness_losses() -> list[LossSpec]:
    """Return another `hist`."""
    return [LossSpec(name="hist", summary="A histogram loss", build=build)]
