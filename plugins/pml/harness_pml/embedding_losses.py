"""Losses over the pairs, triplets or rankings of a batch; no weights of their own."""

from typing import Annotated, Literal

from pydantic import Field

from harness.api import Search
from harness_pml.cards import (
    PLAIN_TENSORS,
    PairParams,
    PmlLoss,
    PmlParams,
    ReducedParams,
)

# Search intervals are those of "A Metric Learning Reality Check" where it has one.
MARGIN = Search(-0.2, 2)

TripletsPerAnchor = Annotated[
    Annotated[int, Field(ge=1, le=100_000)] | Literal["all"],
    Field(description="triplets drawn per anchor when no miner chooses them"),
]


class ContrastiveParams(PairParams):
    """Margins are distances; with a similarity such as cosine, set pos 1 and neg 0."""

    pos_margin: Annotated[
        float, Field(ge=-10, le=10, description="up to here a positive pair costs nothing"), MARGIN
    ] = 0.0
    neg_margin: Annotated[
        float, Field(ge=-10, le=10, description="from here a negative pair costs nothing"), MARGIN
    ] = 1.0


class SnrContrastiveParams(ReducedParams):
    """Contrastive loss with the signal-to-noise distance."""

    pos_margin: Annotated[
        float,
        Field(ge=0, le=10, description="up to here a positive pair costs nothing"),
        Search(0, 2),
    ] = 0.0
    neg_margin: Annotated[
        float,
        Field(ge=0, le=10, description="from here a negative pair costs nothing"),
        Search(0, 2),
    ] = 1.0
    embedding_reg_weight: Annotated[
        float, Field(ge=0, le=100, description="weight of |sum of an embedding|"), Search(0, 1)
    ] = 0.0


class TripletMarginParams(PairParams):
    """The triplet loss."""

    margin: Annotated[
        float, Field(ge=-10, le=10, description="by which a negative must be farther"), MARGIN
    ] = 0.05
    swap: Annotated[
        bool, Field(description="measure the negative from the positive where that is harder")
    ] = False
    smooth_loss: Annotated[bool, Field(description="softplus instead of the hinge")] = False
    triplets_per_anchor: TripletsPerAnchor = "all"


class MarginParams(PairParams):
    """The margin loss of "Sampling Matters", with a boundary beta that can be learned."""

    margin: Annotated[
        float, Field(ge=-10, le=10, description="around the boundary beta"), MARGIN
    ] = 0.2
    nu: Annotated[float, Field(ge=0, le=100, description="weight of beta as a penalty")] = 0.0
    beta: Annotated[
        float, Field(ge=-10, le=10, description="boundary of positive and negative"), MARGIN
    ] = 1.2
    triplets_per_anchor: TripletsPerAnchor = "all"
    learn_beta: Annotated[bool, Field(description="train beta with the encoder")] = False
    beta_per_class: Annotated[bool, Field(description="one beta for each class")] = False
    lr_scale: Annotated[
        float, Field(gt=0, le=1e6, description="factor on the learning rate, for beta")
    ] = 1.0


class MultiSimilarityParams(PairParams):
    """The multi-similarity loss."""

    alpha: Annotated[
        float, Field(gt=0, le=1000, description="sharpness for positive pairs"), Search(0.01, 100)
    ] = 2.0
    beta: Annotated[
        float, Field(gt=0, le=1000, description="sharpness for negative pairs"), Search(0.01, 100)
    ] = 50.0
    base: Annotated[
        float,
        Field(ge=-10, le=10, description="similarity that costs nothing extra"),
        Search(0, 1),
    ] = 0.5


class NtXentParams(PairParams):
    """NT-Xent, also called InfoNCE and N-pair cross-entropy."""

    temperature: Annotated[
        float,
        Field(gt=0, le=1000, description="divides similarities"),
        Search(1e-4, 100, log=True),
    ] = 0.07


class SupConParams(PairParams):
    """The supervised contrastive loss."""

    temperature: Annotated[
        float, Field(gt=0, le=1000, description="divides similarities"), Search(0.01, 1, log=True)
    ] = 0.1


class FastApParams(ReducedParams):
    """Average precision through soft histograms."""

    num_bins: Annotated[
        int, Field(ge=2, le=10_000, description="bins of the distance histogram"), Search(2, 32)
    ] = 10


class PnpParams(PmlParams):
    """Penalising negatives before positives."""

    b: Annotated[float, Field(gt=0, le=100, description="steepness in variant Ib")] = 2.0
    alpha: Annotated[float, Field(gt=0, le=100, description="exponent in variant Dq")] = 1.0
    anneal: Annotated[
        float, Field(gt=0, le=10, description="width of the sigmoid"), Search(1e-3, 1, log=True)
    ] = 0.01
    variant: Annotated[
        Literal["Ds", "Dq", "Iu", "Ib", "O"], Field(description="how ranks are weighed")
    ] = "O"


class CircleParams(ReducedParams):
    """The circle loss."""

    m: Annotated[float, Field(ge=-1, le=1, description="relaxation margin"), Search(0, 1)] = 0.4
    gamma: Annotated[
        float, Field(gt=0, le=10_000, description="scale"), Search(1, 512, log=True)
    ] = 80.0


class LiftedStructureParams(PairParams):
    """The lifted structure loss."""

    neg_margin: Annotated[float, Field(ge=-10, le=10, description="of negative pairs"), MARGIN] = (
        1.0
    )
    pos_margin: Annotated[float, Field(ge=-10, le=10, description="of positive pairs"), MARGIN] = (
        0.0
    )


class AngularParams(ReducedParams):
    """The angular loss."""

    alpha: Annotated[
        float, Field(gt=0, lt=90, description="angle at the negative, in degrees"), Search(20, 60)
    ] = 40.0


class NcaParams(PairParams):
    """Neighbourhood component analysis on the batch."""

    softmax_scale: Annotated[
        float, Field(gt=0, le=1000, description="multiplies similarities"), Search(0.01, 100)
    ] = 1.0


class IntraPairVarianceParams(PairParams):
    """Pairs away from the mean of their kind are penalised; used next to another loss."""

    pos_eps: Annotated[
        float, Field(ge=0, le=10, description="tolerance for positive pairs"), Search(0, 1)
    ] = 0.01
    neg_eps: Annotated[
        float, Field(ge=0, le=10, description="tolerance for negative pairs"), Search(0, 1)
    ] = 0.01


class TupletMarginParams(ReducedParams):
    """The tuplet margin loss."""

    margin: Annotated[float, Field(ge=0, le=90, description="in degrees"), Search(0, 30)] = 5.73
    scale: Annotated[
        float, Field(gt=0, le=10_000, description="multiplies cosines"), Search(1, 200)
    ] = 64.0


class RankedListParams(ReducedParams):
    """The ranked list loss; PML has no default for margin and Tn, these are the paper's."""

    margin: Annotated[
        float, Field(gt=0, le=10, description="between positives and negatives"), Search(0.1, 1)
    ] = 0.4
    Tn: Annotated[
        float, Field(ge=0, le=40, description="temperature of the weights of negatives")
    ] = 10.0
    imbalance: Annotated[
        float, Field(ge=0, le=1, description="weight of negatives against positives")
    ] = 0.5
    alpha: Annotated[
        float | None, Field(gt=0, le=10, description="negatives' boundary; null is 1 + margin / 2")
    ] = None
    Tp: Annotated[
        float, Field(ge=0, le=40, description="temperature of the weights of positives")
    ] = 0.0


class ThresholdConsistentMarginParams(PmlParams):
    """A penalty for pairs on the wrong side of two fixed cosines; used next to another loss."""

    lambda_plus: Annotated[float, Field(ge=0, le=100, description="weight of positives")] = 1.0
    lambda_minus: Annotated[float, Field(ge=0, le=100, description="weight of negatives")] = 1.0
    margin_plus: Annotated[
        float, Field(ge=-1, le=1, description="cosine that positives should reach")
    ] = 0.9
    margin_minus: Annotated[
        float, Field(ge=-1, le=1, description="cosine that negatives should stay below")
    ] = 0.5


EMBEDDING_LOSSES = (
    PmlLoss(
        name="contrastive",
        class_name="ContrastiveLoss",
        params=ContrastiveParams,
        summary="Positive pairs nearer than one margin, negative pairs farther than another",
        paper="http://yann.lecun.com/exdb/publis/pdf/hadsell-chopra-lecun-06.pdf",
    ),
    PmlLoss(
        name="snr_contrastive",
        class_name="SignalToNoiseRatioContrastiveLoss",
        params=SnrContrastiveParams,
        summary="Contrastive loss on the ratio of signal and noise variance",
        paper="arXiv:1904.02616",
    ),
    PmlLoss(
        name="triplet_margin",
        class_name="TripletMarginLoss",
        params=TripletMarginParams,
        summary="A negative farther than a positive by a margin",
        paper="arXiv:1503.03832",
    ),
    PmlLoss(
        name="margin",
        class_name="MarginLoss",
        params=MarginParams,
        summary="Pairs on their side of a boundary that can be learned",
        paper="arXiv:1706.07567",
        expected_failures=PLAIN_TENSORS,
    ),
    PmlLoss(
        name="multi_similarity",
        class_name="MultiSimilarityLoss",
        params=MultiSimilarityParams,
        summary="Soft weighting of pairs by self and relative similarity",
        paper="arXiv:1904.06627",
    ),
    PmlLoss(
        name="ntxent",
        class_name="NTXentLoss",
        params=NtXentParams,
        summary="Each positive pair against all negatives of its anchor, by cross-entropy",
        paper="arXiv:1807.03748",
    ),
    PmlLoss(
        name="supcon",
        class_name="SupConLoss",
        params=SupConParams,
        summary="All positives of an anchor against everything else in the batch",
        paper="arXiv:2004.11362",
    ),
    PmlLoss(
        name="fastap",
        class_name="FastAPLoss",
        params=FastApParams,
        summary="Average precision of the batch through soft histograms",
        paper="https://openaccess.thecvf.com/content_CVPR_2019/papers/Cakir_Deep_Metric_Learning_to_Rank_CVPR_2019_paper.pdf",
    ),
    PmlLoss(
        name="pnp",
        class_name="PNPLoss",
        params=PnpParams,
        summary="Number of negatives ranked before each positive",
        paper="arXiv:2102.04640",
        takes_tuples=False,
        expected_failures={"float16_autocast_stays_finite": "its steep sigmoid overflows"},
    ),
    PmlLoss(
        name="circle",
        class_name="CircleLoss",
        params=CircleParams,
        summary="Pairs weighted by how far they are from their optimum",
        paper="arXiv:2002.10857",
    ),
    PmlLoss(
        name="lifted_structure",
        class_name="LiftedStructureLoss",
        params=LiftedStructureParams,
        summary="Each positive pair against all negatives of both ends",
        paper="arXiv:1511.06452",
    ),
    PmlLoss(
        name="generalized_lifted_structure",
        class_name="GeneralizedLiftedStructureLoss",
        params=LiftedStructureParams,
        summary="Soft maximum over the positives and the negatives of each anchor",
        paper="arXiv:1703.07737",
    ),
    PmlLoss(
        name="angular",
        class_name="AngularLoss",
        params=AngularParams,
        summary="The angle at the negative of each triplet below a bound",
        paper="arXiv:1708.01682",
        expected_failures=PLAIN_TENSORS,
    ),
    PmlLoss(
        name="npairs",
        class_name="NPairsLoss",
        params=PairParams,
        summary="One pair per class against the positives of all others, by cross-entropy",
        paper="http://www.nec-labs.com/uploads/images/Department-Images/MediaAnalytics/papers/nips16_npairmetriclearning.pdf",
        expected_failures={
            "order_of_the_batch_does_not_matter": "it takes the first pair of each class"
        },
    ),
    PmlLoss(
        name="nca",
        class_name="NCALoss",
        params=NcaParams,
        summary="Probability of a neighbour of the same class",
        paper="https://www.cs.toronto.edu/~hinton/absps/nca.pdf",
        expected_failures={
            "singletons_give_a_finite_loss_or_an_error": "the library's mean of no losses is NaN"
        },
    ),
    PmlLoss(
        name="intra_pair_variance",
        class_name="IntraPairVarianceLoss",
        params=IntraPairVarianceParams,
        summary="Small variance among positive and among negative pairs",
        paper="https://openaccess.thecvf.com/content_ICCV_2019/papers/Yu_Deep_Metric_Learning_With_Tuplet_Margin_Loss_ICCV_2019_paper.pdf",
    ),
    PmlLoss(
        name="tuplet_margin",
        class_name="TupletMarginLoss",
        params=TupletMarginParams,
        summary="Each positive pair against all negatives, with a margin on its angle",
        paper="https://openaccess.thecvf.com/content_ICCV_2019/papers/Yu_Deep_Metric_Learning_With_Tuplet_Margin_Loss_ICCV_2019_paper.pdf",
    ),
    PmlLoss(
        name="ranked_list",
        class_name="RankedListLoss",
        params=RankedListParams,
        summary="Positives inside a sphere, weighted negatives outside a larger one",
        paper="arXiv:1903.03238",
        takes_tuples=False,
    ),
    PmlLoss(
        name="threshold_consistent_margin",
        class_name="ThresholdConsistentMarginLoss",
        params=ThresholdConsistentMarginParams,
        summary="Hard pairs pulled to cosines that hold for all classes",
        paper="arXiv:2307.04047",
    ),
)
