"""Parameters of the criteria; defaults are those of the authors' published runs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from harness.api import Params, Search

Variant = Annotated[
    Literal["published", "intended"],
    Field(description="what the authors' code computes, or what it was meant to compute"),
]
Margin = Annotated[
    float, Field(ge=0, le=10, description="by which a negative must be farther"), Search(0.01, 1)
]
NormWeight = Annotated[
    float,
    Field(ge=0, le=100, description="weight of the mean norm of the embeddings"),
    Search(1e-4, 0.1, log=True),
]
LearningRate = Annotated[
    float,
    Field(gt=0, le=100, description="learning rate of the loss's weights"),
    Search(1e-6, 1e-1, log=True),
]
LearningRateFactor = Annotated[
    float,
    Field(gt=0, le=10_000, description="factor on the learning rate, for the loss's weights"),
]


class TripletParams(Params):
    """Parameters of `rdml_triplet`."""

    margin: Margin = 0.2


class ContrastiveParams(Params):
    """Parameters of `rdml_contrastive`."""

    pos_margin: Annotated[
        float, Field(ge=0, le=10, description="up to here a positive costs nothing"), Search(0, 1)
    ] = 0.0
    neg_margin: Annotated[
        float, Field(ge=0, le=10, description="from here a negative costs nothing"), Search(0.1, 2)
    ] = 1.0


class MarginParams(Params):
    """Parameters of `rdml_margin`."""

    margin: Annotated[
        float, Field(ge=0, le=10, description="around the boundary beta"), Search(0.01, 1)
    ] = 0.2
    beta: Annotated[
        float,
        Field(ge=-10, le=10, description="boundary between positives and negatives, at first"),
        Search(0.3, 1.5),
    ] = 1.2
    learn_beta: Annotated[
        bool, Field(description="learn a boundary for each class; otherwise beta stays")
    ] = True
    beta_lr: LearningRate = 5e-4
    nu: Annotated[
        float,
        Field(ge=0, le=100, description="weight of the sum of the boundaries of the anchors"),
    ] = 0.0


class MultiSimilarityParams(Params):
    """Parameters of `rdml_multisimilarity`."""

    pos_weight: Annotated[
        float, Field(gt=0, le=1000, description="sharpness for positives"), Search(0.1, 100)
    ] = 2.0
    neg_weight: Annotated[
        float, Field(gt=0, le=1000, description="sharpness for negatives"), Search(0.1, 100)
    ] = 40.0
    margin: Annotated[
        float,
        Field(ge=-10, le=10, description="slack with which a pair still counts as hard"),
        Search(0, 0.5),
    ] = 0.1
    thresh: Annotated[
        float,
        Field(ge=-10, le=10, description="similarity that costs nothing extra"),
        Search(0, 1),
    ] = 0.5


class LiftedParams(Params):
    """Parameters of `rdml_lifted`."""

    neg_margin: Annotated[
        float,
        Field(ge=-100, le=100, description="distance to be kept from negatives"),
        Search(0, 4),
    ] = 1.0
    l2: NormWeight = 0.005


class NPairParams(Params):
    """Parameters of `rdml_npair`."""

    l2: NormWeight = 0.005
    embedding_scale: Annotated[
        float,
        Field(gt=0, le=100, description="factor on embeddings; 0.25 as theirs for BN-Inception"),
    ] = 1.0


class AngularParams(Params):
    """Parameters of `rdml_angular`."""

    alpha: Annotated[
        float, Field(gt=0, lt=90, description="bound of the angle, in degrees"), Search(30, 60)
    ] = 45.0
    angular_weight: Annotated[
        float, Field(ge=0, le=1000, description="weight of the angular term"), Search(0.1, 10)
    ] = 2.0
    l2: NormWeight = 0.005
    variant: Variant = "published"


class SnrParams(Params):
    """Parameters of `rdml_snr`."""

    margin: Margin = 0.2
    reg_lambda: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="weight of |sum of an anchor|; theirs is 0 for distance mining",
        ),
        Search(1e-4, 0.1, log=True),
    ] = 0.005
    fail_as_published: Annotated[
        bool, Field(description="NaN, as theirs, instead of 0 where no triplet is active")
    ] = False


class QuadrupletParams(Params):
    """Parameters of `rdml_quadruplet`."""

    margin_alpha_1: Margin = 0.2
    margin_alpha_2: Annotated[
        float,
        Field(ge=0, le=10, description="by which two negatives must be farther"),
        Search(0.01, 1),
    ] = 0.2
    variant: Variant = "published"


class SoftmaxParams(Params):
    """Parameters of `rdml_softmax`."""

    temperature: Annotated[
        float, Field(gt=0, le=100, description="divides similarities"), Search(0.01, 1, log=True)
    ] = 0.05
    lr: LearningRate = 1e-5


class ArcFaceParams(Params):
    """Parameters of `rdml_arcface`."""

    angular_margin: Annotated[
        float, Field(ge=0, le=3.14, description="added to the angle, in radians"), Search(0.1, 1)
    ] = 0.5
    feature_scale: Annotated[
        float, Field(gt=0, le=1000, description="multiplies cosines"), Search(4, 64, log=True)
    ] = 16.0
    lr: LearningRate = 5e-4
    variant: Variant = "published"


class ProxyNcaParams(Params):
    """Parameters of `rdml_proxynca`."""

    scale: Annotated[
        float, Field(gt=0, le=100, description="length of embeddings and proxies"), Search(1, 8)
    ] = 3.0
    lr_scale: LearningRateFactor = 50.0


class SoftTripletParams(Params):
    """Parameters of `rdml_softtriplet`."""

    n_centroids: Annotated[int, Field(ge=1, le=1024, description="centres of each class")] = 2
    gamma: Annotated[
        float,
        Field(gt=0, le=100, description="multiplies similarities inside; divides if intended"),
        Search(0.01, 1, log=True),
    ] = 0.1
    lam: Annotated[
        float, Field(gt=0, le=1000, description="multiplies class scores"), Search(1, 64, log=True)
    ] = 8.0
    margin_delta: Annotated[
        float, Field(ge=0, le=10, description="taken from the score of the class"), Search(0, 0.2)
    ] = 0.01
    reg_weight: Annotated[
        float, Field(ge=0, le=100, description="weight of distances inside a class"), Search(0, 1)
    ] = 0.2
    lr_scale: LearningRateFactor = 1.0
    variant: Variant = "published"


class HistogramParams(Params):
    """Parameters of `rdml_histogram`."""

    nbins: Annotated[
        int, Field(ge=2, le=10_000, description="nodes of the histogram; theirs is 11 on SOP")
    ] = 65
    variant: Variant = "published"


Direction = Annotated[str, Field(pattern=r"^\w+-\w+$")]


class SeparationParams(Params):
    """Parameters of `rdml_adversarial_separation`."""

    directions: Annotated[
        tuple[Direction, ...],
        Field(min_length=1, description="source-target: parts of the embedding to be kept apart"),
    ] = ("discriminative-shared",)
    weights: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1e6)], ...],
        Field(description="one weight for each direction"),
    ] = (1.0,)
    proj_dim: Annotated[
        int, Field(ge=1, le=65536, description="hidden width of each regressor")
    ] = 512
    base_weight: Annotated[
        float,
        Field(ge=0, le=1000, description="weight of multi-similarity on every part; 0 for none"),
    ] = 1.0
    lr_scale: LearningRateFactor = 1.0

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts, in the order in which the directions mention them."""
        return tuple(dict.fromkeys("-".join(self.directions).split("-")))

    @model_validator(mode="after")
    def _check_directions(self) -> SeparationParams:
        if len(self.weights) != len(self.directions):
            raise ValueError(f"{len(self.weights)} weights for {len(self.directions)} directions")
        if len(set(self.directions)) != len(self.directions):
            raise ValueError("a direction is named twice")
        if len(self.parts) < 2:  # noqa: PLR2004 - something must be apart from something
            raise ValueError("directions must name two parts at least, such as a-b")
        return self
