"""How a class of pytorch-metric-learning is described: our name, its name, its parameters.

Fields of a params model are arguments of the class, with its defaults, except those in `OURS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from harness.api import BuildContext, LossParts, LossSpec, Miner, MinerSpec, Params

# Parameters that the adapter reads itself; every other one is an argument of the class.
OURS = frozenset(
    {
        "beta_per_class",
        "distance",
        "embedding_reg_weight",
        "lr_scale",
        "normalize_embeddings",
        "reducer",
        "weight_reg_weight",
    }
)


Size = Literal["num_classes", "embedding_dim"]

PLAIN_TENSORS = {
    "state_is_registered": "the library keeps constants as plain tensors and moves them itself"
}
GLOBAL_STREAM = {"draws_come_from_the_generator": "the library draws from torch's global stream"}


class PmlParams(Params):
    """Base of all parameters here; checks are compiled when a model is first used."""

    model_config = ConfigDict(defer_build=True)


class ReducedParams(PmlParams):
    """A loss that averages over pairs, triplets or samples."""

    reducer: Annotated[
        Literal["mean", "sum", "avg_non_zero"] | None,
        Field(description="how single losses become one; null takes the class's own way"),
    ] = None


class ComparedParams(PmlParams):
    """A component that compares embeddings by a distance of the user's choice."""

    distance: Annotated[
        Literal["euclidean", "squared_euclidean", "cosine", "dot", "snr"] | None,
        Field(description="between embeddings; null takes the class's own"),
    ] = None
    normalize_embeddings: Annotated[
        bool, Field(description="whether `distance` scales embeddings to unit length first")
    ] = True

    @model_validator(mode="after")
    def _check_distance(self) -> Self:
        if self.distance is None and not self.normalize_embeddings:
            raise ValueError("normalize_embeddings: false needs a distance, such as euclidean")
        return self


class PairParams(ReducedParams, ComparedParams):
    """A loss over pairs or triplets, with any distance."""


class WeightParams(ReducedParams):
    """A loss with learnable weights: proxies, centers or a classifier."""

    lr_scale: Annotated[
        float,
        Field(gt=0, le=1e6, description="factor on the learning rate, for the loss's weights"),
    ] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PmlLoss:
    """One loss class.

    Attributes:
        name: Ours.
        class_name: In `pytorch_metric_learning.losses`.
        params: Its parameters.
        summary: One line.
        paper: Where it was published.
        sizes: Arguments of the class that the run decides, and which fact of it each one is.
        takes_tuples: Whether a miner can choose what the loss sees.
        min_per_class: Images of one class without which it has no signal.
        expected_failures: Conformance checks that the class does not pass, each with the reason.
    """

    name: str
    class_name: str
    params: type[PmlParams]
    summary: str
    paper: str = ""
    sizes: Mapping[str, Size] = field(default_factory=dict[str, Size])
    takes_tuples: bool = True
    min_per_class: int = 2
    expected_failures: Mapping[str, str] = field(default_factory=dict[str, str])

    def card(self) -> LossSpec:
        """Return what the registry wants to know."""
        return LossSpec(
            name=self.name,
            summary=self.summary,
            paper=self.paper,
            params=self.params,
            build=self.build,
            takes=("pairs", "triplets") if self.takes_tuples else (),
            min_per_class=self.min_per_class,
            learnable=bool(self.sizes),
            expected_failures=self.expected_failures,
        )

    def build(self, params: PmlParams, context: BuildContext) -> LossParts:
        """Build the class with its adapter."""
        from harness_pml.adapter import assemble_loss  # torch loads here

        return assemble_loss(self, params, context)


@dataclass(frozen=True, slots=True, kw_only=True)
class PmlMiner:
    """One miner class.

    Attributes:
        name: Ours.
        class_name: In `pytorch_metric_learning.miners`.
        params: Its parameters.
        summary: One line.
        gives: What it selects.
        paper: Where it was published.
        expected_failures: Conformance checks that the class does not pass, each with the reason.
    """

    name: str
    class_name: str
    params: type[PmlParams]
    summary: str
    gives: Literal["pairs", "triplets"]
    paper: str = ""
    expected_failures: Mapping[str, str] = field(default_factory=dict[str, str])

    def card(self) -> MinerSpec:
        """Return what the registry wants to know."""
        return MinerSpec(
            name=self.name,
            summary=self.summary,
            paper=self.paper,
            params=self.params,
            build=self.build,
            gives=self.gives,
            expected_failures=self.expected_failures,
        )

    def build(self, params: PmlParams, context: BuildContext) -> Miner:
        """Build the class with its adapter."""
        from harness_pml.adapter import assemble_miner  # torch loads here

        return assemble_miner(self, params)
