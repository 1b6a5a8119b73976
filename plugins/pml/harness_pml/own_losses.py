"""Losses that are not the library's class, because the authors' code gives other numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from harness.api import BuildContext, LossParts, LossSpec, NoParams, Params, ReplaySpec, Search

if TYPE_CHECKING:
    from harness.testing.golden import Adapter


class ProxyAnchorParams(Params):
    """Parameters of Proxy-Anchor; defaults are those of its authors' command line."""

    margin: Annotated[
        float, Field(ge=-2, le=2, description="added to cosines"), Search(0, 0.4)
    ] = 0.1
    alpha: Annotated[float, Field(gt=0, le=1000, description="scale"), Search(4, 64, log=True)] = (
        32.0
    )
    lr_scale: Annotated[
        float,
        Field(gt=0, le=1e6, description="factor on the learning rate, for the proxies"),
        Search(1, 1000, log=True),
    ] = 100.0


def build_proxy_anchor(params: ProxyAnchorParams, context: BuildContext) -> LossParts:
    """Build the objective and its proxies."""
    from harness_pml.proxy_anchor import assemble  # torch loads here

    return assemble(params, context)


def build_replay(_: NoParams, __: None) -> Adapter:
    """Return what replays the golden cases of Proxy-Anchor."""
    from harness_pml.replays import PROXY_ANCHOR

    return PROXY_ANCHOR


OWN_LOSSES = (
    LossSpec(
        name="proxy_anchor",
        summary="Each class's proxy pulls its samples and pushes all others, by hardness",
        paper="arXiv:2003.13911",
        params=ProxyAnchorParams,
        build=build_proxy_anchor,
        min_per_class=1,
        learnable=True,
    ),
)

REPLAYS = (ReplaySpec(name="proxy_anchor", summary="Proxy-Anchor", build=build_replay),)
