"""Losses with weights of their own: classifiers, proxies and centers."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from harness.api import Search
from harness_pml.cards import (
    PLAIN_TENSORS,
    ComparedParams,
    PmlLoss,
    PmlParams,
    Size,
    WeightParams,
)

# Search intervals are those of "A Metric Learning Reality Check" where it has one.
SIZES: Mapping[str, Size] = {"num_classes": "num_classes", "embedding_size": "embedding_dim"}


class ProxyNcaParams(WeightParams, ComparedParams):
    """Proxy-NCA; with a scale above 1, the part of Proxy-NCA++ that is in the loss."""

    softmax_scale: Annotated[
        float, Field(gt=0, le=1000, description="multiplies distances"), Search(0.01, 100)
    ] = 1.0


class NormalizedSoftmaxParams(WeightParams, ComparedParams):
    """Softmax over normalised class weights."""

    temperature: Annotated[
        float, Field(gt=0, le=1000, description="divides cosines"), Search(0.01, 100, log=True)
    ] = 0.05


class CosFaceParams(WeightParams):
    """CosFace."""

    margin: Annotated[
        float, Field(ge=-2, le=2, description="taken from the target's cosine"), Search(0, 1)
    ] = 0.35
    scale: Annotated[
        float, Field(gt=0, le=10_000, description="multiplies cosines"), Search(0.01, 200)
    ] = 64.0


class ArcFaceParams(WeightParams):
    """ArcFace; the margin is in degrees."""

    margin: Annotated[
        float,
        Field(ge=0, le=180, description="added to the target's angle, degrees"),
        Search(0, 90),
    ] = 28.6
    scale: Annotated[
        float, Field(gt=0, le=10_000, description="multiplies cosines"), Search(0.01, 200)
    ] = 64.0


class SubCenterArcFaceParams(ArcFaceParams):
    """ArcFace with several centers per class."""

    sub_centers: Annotated[int, Field(ge=1, le=1000, description="centers per class")] = 3


class MultipleAngleParams(WeightParams):
    """Losses that multiply the target's angle by a whole number."""

    margin: Annotated[int, Field(ge=1, le=16, description="factor on the target's angle")] = 4
    scale: Annotated[
        float, Field(gt=0, le=10_000, description="multiplies logits"), Search(0.01, 200)
    ] = 1.0


class P2sGradParams(PmlParams):
    """P2SGrad has no numbers to set."""

    lr_scale: Annotated[
        float, Field(gt=0, le=1e6, description="factor on the learning rate, for its weights")
    ] = 1.0


class SoftTripleParams(WeightParams, ComparedParams):
    """SoftTriple: several centers per class, weighted softly."""

    centers_per_class: Annotated[int, Field(ge=1, le=1000, description="centers per class")] = 10
    la: Annotated[
        float, Field(gt=0, le=1000, description="multiplies similarities"), Search(0.01, 100)
    ] = 20.0
    gamma: Annotated[
        float, Field(gt=0, le=1000, description="softness over centers"), Search(0.01, 100)
    ] = 0.1
    margin: Annotated[
        float, Field(ge=-2, le=2, description="taken from the target"), Search(0, 1)
    ] = 0.01
    weight_reg_weight: Annotated[
        float,
        Field(ge=0, le=100, description="weight of the distance between centers of a class"),
        Search(0, 1),
    ] = 0.0


WEIGHT_LOSSES = (
    PmlLoss(
        name="proxy_nca",
        class_name="ProxyNCALoss",
        params=ProxyNcaParams,
        summary="Probability of the own class's proxy among all proxies",
        paper="arXiv:1703.07464",
        sizes=SIZES,
        min_per_class=1,
        expected_failures=PLAIN_TENSORS,
    ),
    PmlLoss(
        name="normalized_softmax",
        class_name="NormalizedSoftmaxLoss",
        params=NormalizedSoftmaxParams,
        summary="Cross-entropy over normalised class weights",
        paper="arXiv:1811.12649",
        sizes=SIZES,
        min_per_class=1,
    ),
    PmlLoss(
        name="cosface",
        class_name="CosFaceLoss",
        params=CosFaceParams,
        summary="Cross-entropy with a margin on the target's cosine",
        paper="arXiv:1801.09414",
        sizes=SIZES,
        min_per_class=1,
    ),
    PmlLoss(
        name="arcface",
        class_name="ArcFaceLoss",
        params=ArcFaceParams,
        summary="Cross-entropy with a margin on the target's angle",
        paper="arXiv:1801.07698",
        sizes=SIZES,
        min_per_class=1,
    ),
    PmlLoss(
        name="subcenter_arcface",
        class_name="SubCenterArcFaceLoss",
        params=SubCenterArcFaceParams,
        summary="ArcFace with several centers per class, the nearest counts",
        paper="https://www.ecva.net/papers/eccv_2020/papers_ECCV/papers/123560715.pdf",
        sizes=SIZES,
        min_per_class=1,
    ),
    PmlLoss(
        name="large_margin_softmax",
        class_name="LargeMarginSoftmaxLoss",
        params=MultipleAngleParams,
        summary="Cross-entropy with a multiple of the target's angle",
        paper="arXiv:1612.02295",
        sizes=SIZES,
        min_per_class=1,
        expected_failures=PLAIN_TENSORS,
    ),
    PmlLoss(
        name="sphereface",
        class_name="SphereFaceLoss",
        params=MultipleAngleParams,
        summary="Large-margin softmax with class weights of unit length",
        paper="arXiv:1704.08063",
        sizes=SIZES,
        min_per_class=1,
        expected_failures=PLAIN_TENSORS,
    ),
    PmlLoss(
        name="p2s_grad",
        class_name="P2SGradLoss",
        params=P2sGradParams,
        summary="Squared error between cosines and the one-hot target",
        paper="arXiv:1905.02479",
        sizes={"num_classes": "num_classes", "descriptors_dim": "embedding_dim"},
        takes_tuples=False,
        min_per_class=1,
    ),
    PmlLoss(
        name="soft_triple",
        class_name="SoftTripleLoss",
        params=SoftTripleParams,
        summary="Cross-entropy over classes of several softly chosen centers",
        paper="arXiv:1909.05235",
        sizes=SIZES,
        min_per_class=1,
    ),
)
