"""The cards that plugins register: frozen facts about a component, and how to build it.

A card is data. Reading one imports neither torch nor the component; only `build` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

Kind = Literal[
    "loss",
    "miner",
    "sampler",
    "backbone",
    "dataset",
    "metric",
    "backend",
    "recipe",
    "replay",
]
TupleSort = Literal["pairs", "triplets"]


class Params(BaseModel):
    """Base of every component's parameters: frozen, unknown names refused.

    Put a range and a description on each number, and a `Search` where tuning makes sense::

        class MyParams(Params):
            tau: Annotated[float, Field(gt=0, le=100, description="inverse temperature"),
                           Search(1, 64, log=True)] = 32.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class NoParams(Params):
    """Parameters of a component that has none."""


@dataclass(frozen=True, slots=True)
class Search:
    """Interval a search may draw a parameter from, inclusive at both ends."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        """Refuse an empty interval, and a logarithmic one that touches zero."""
        if not self.low < self.high:
            raise ValueError(f"search interval [{self.low}, {self.high}] is empty")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic search cannot start at {self.low}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSpec:
    """What every card says.

    Attributes:
        name: Unique inside its kind and distribution; lower case, digits, underscores.
        summary: One line.
        paper: arXiv id (`arXiv:2003.08505`), DOI or URL; empty when there is none.
        params: The model that checks this component's parameters.
        build: Called as `build(params, context)`; imports what it needs.
        expected_failures: Conformance checks that the component cannot pass, each with the reason.
        check_params: Parameters it is checked with, where defaults are missing or need long.
    """

    kind: ClassVar[Kind]

    name: str
    summary: str
    build: Callable[..., Any]
    paper: str = ""
    params: type[Params] = NoParams
    expected_failures: Mapping[str, str] = field(default_factory=dict[str, str])
    check_params: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class LossSpec(ComponentSpec):
    """Card of a loss; `build(params, BuildContext) -> LossParts`.

    Attributes:
        takes: Sorts of mined tuples the loss can use; empty for a loss that mines nothing.
        mining_required: The loss cannot work without a miner.
        min_per_class: Images of one class a batch must hold for the loss to have a signal.
        learnable: Whether the objective has parameters of its own (proxies, class weights, …).
        per_sample: The loss is the mean of one value for each sample, so that processes which
            see parts of a batch may average their gradients. Others must see the whole batch.
    """

    kind: ClassVar[Kind] = "loss"

    takes: tuple[TupleSort, ...] = ()
    mining_required: bool = False
    min_per_class: int = 1
    learnable: bool = False
    per_sample: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MinerSpec(ComponentSpec):
    """Card of a miner; `build(params, BuildContext) -> Miner`.

    Attributes:
        gives: Sort of tuples it returns.
    """

    kind: ClassVar[Kind] = "miner"

    gives: TupleSort = "triplets"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerSpec(ComponentSpec):
    """Card of a batch sampler; `build(params, SamplerContext) -> Sampler`.

    Attributes:
        images_per_class: Parameter that says how many images of each of its classes a batch
            holds, no more and no less; empty for a sampler that promises no number.
    """

    kind: ClassVar[Kind] = "sampler"

    images_per_class: str = ""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What a backbone's weights expect of a pixel.

    Attributes:
        channels: Order of the channels; "gray" is a single one.
        value_range: Value of a white pixel, 1.0 or 255.0, before mean and std are applied.
        mean: Per channel, in units of `value_range`.
        std: Per channel, in units of `value_range`.
    """

    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    value_range: float = 1.0
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class WeightFile:
    """A published state dict.

    Attributes:
        url: Where it is fetched from, only ever on request.
        sha256: Full digest, or the leading hex digits that the publisher puts in the name; empty
            where nobody published one, and nothing is checked.
    """

    url: str
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneSpec(ComponentSpec):
    """Card of a backbone; `build(params, BackboneContext) -> nn.Module`.

    The module maps images (B, channels, H, W) to features (B, F), or to maps (B, F, h, w), which
    the encoder pools as the protocol says.

    Attributes:
        features: F.
        input_size: Side of the images the weights were trained on, in pixels.
        preprocessing: Channel order, value range, mean and standard deviation.
        weights: Published weights by key (`imagenet`).
    """

    kind: ClassVar[Kind] = "backbone"

    features: int
    input_size: int = 224
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    weights: Mapping[str, WeightFile] = field(default_factory=dict[str, WeightFile])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file that a data set is published as.

    Attributes:
        name: Where it belongs, relative to the data set's folder.
        urls: Mirrors, in the order in which they are tried; empty where a person must get it.
        size: Bytes; None where nobody says.
        md5: Empty where nobody says.
        sha256: The same.
        holds: Folder inside the archive that is put beside it; empty for a file that is used as
            it is.
    """

    name: str
    urls: tuple[str, ...] = ()
    size: int | None = None
    md5: str = ""
    sha256: str = ""
    holds: str = ""


class PartSize(NamedTuple):
    """How many images and classes a part of a data set has.

    Parts are the official ones, unless those share classes (a closed set): then `train` and `test`
    are the first and the second half of the class ids, as papers on metric learning divide them.
    """

    part: str
    images: int
    classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSpec(ComponentSpec):
    """Card of a data set; `build(params, DataContext) -> SampleTable`.

    Attributes:
        how_to_get: What a person does to have it; shown when it is missing. `FOLDER` stands for
            the folder of the data sets.
        num_images: Official count, None where the user's files decide.
        num_classes: Official count, None where the user's files decide.
        parts: Official counts of each part.
        folder: Where `harness data fetch` puts it, below the folder of the data sets.
        files: What it puts there.
    """

    kind: ClassVar[Kind] = "dataset"

    how_to_get: str = ""
    num_images: int | None = None
    num_classes: int | None = None
    parts: tuple[PartSize, ...] = ()
    folder: str = ""
    files: tuple[DataFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSpec(ComponentSpec):
    """Card of a metric; `build(params, None)` returns `Ranking -> float`.

    A name that ends in `_at_k` is a family: `recall_at_10` is `recall_at_k` with `k=10`.

    Attributes:
        version: Of the definition; a changed formula is a new version.
        higher_is_better: Which way selection goes.
        bounds: Smallest and largest possible value.
        needs_ranking: Whether it looks at neighbours. One that does not is a function of the
            query embeddings alone and can be measured during training (`evaluation.diagnostics`).
    """

    kind: ClassVar[Kind] = "metric"

    version: int = 1
    higher_is_better: bool = True
    bounds: tuple[float, float] = (0.0, 1.0)
    needs_ranking: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec(ComponentSpec):
    """Card of an evaluation backend; `build(params, None) -> Backend`.

    A package it needs and does not find is a HarnessError that says how to install it.
    """

    kind: ClassVar[Kind] = "backend"


def _no_build(*_: object) -> None:
    """Refuse: a recipe is read, not built."""
    raise TypeError("a recipe is a file; read it with harness.recipe.load")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeSpec(ComponentSpec):
    """Card of a recipe: a YAML file with published values for a protocol's open fields.

    Attributes:
        method: Name of the loss the recipe is for.
        package: Import name that holds the file.
        path: File inside that package.
    """

    kind: ClassVar[Kind] = "recipe"

    method: str
    package: str
    path: str
    build: Callable[..., Any] = _no_build


def recipe_cards(package: str, summaries: Mapping[str, Mapping[str, str]]) -> list[RecipeSpec]:
    """Return the cards of the recipes in a package's folder `recipes`, `NAME.yaml` each.

    Args:
        package: Import name of the package.
        summaries: By method, then by the recipe's name.
    """
    return [
        RecipeSpec(
            name=name,
            summary=summary,
            method=method,
            package=package,
            path=f"recipes/{name}.yaml",
        )
        for method, recipes in summaries.items()
        for name, summary in recipes.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySpec(ComponentSpec):
    """Card of a replay; `build(params, None)` returns `(case, dtype) -> numbers`.

    It speaks the vocabulary of one method's golden cases (`harness.testing.golden`). Its name is
    the `method` of those cases; only such names may hold dots (`hier.full_loss`).
    """

    kind: ClassVar[Kind] = "replay"


SPEC_OF_KIND: Mapping[Kind, type[ComponentSpec]] = {
    "loss": LossSpec,
    "miner": MinerSpec,
    "sampler": SamplerSpec,
    "backbone": BackboneSpec,
    "dataset": DatasetSpec,
    "metric": MetricSpec,
    "backend": BackendSpec,
    "recipe": RecipeSpec,
    "replay": ReplaySpec,
}
