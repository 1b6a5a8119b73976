"""One hook is misspelt, the other is not."""

from harness.api import LossParts, LossSpec, MinerSpec, NoParams, hookimpl


def build(params: NoParams, context: object) -> LossParts:
    """Refuse; nobody builds this."""
    raise NotImplementedError


@hookimpl
def harness_loses() -> list[LossSpec]:
    """Return a loss that nobody will find."""
    return [LossSpec(name="lost", summary="Never found", build=build)]


@hookimpl
def harness_miners() -> list[MinerSpec]:
    """Return a miner that works all the same."""
    return [MinerSpec(name="spelt_right", summary="Found", build=build)]
