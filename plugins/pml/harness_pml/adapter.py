"""Objectives and miners around classes of pytorch-metric-learning.

Shapes: B batch.
"""

from __future__ import annotations

from typing import Any

from pytorch_metric_learning import distances, losses, miners, reducers, regularizers
from torch import Tensor, nn

from harness.api import (
    Batch,
    BuildContext,
    LossParts,
    Pairs,
    ParamGroup,
    Progress,
    Triplets,
    Tuples,
)
from harness.kit.labels import check_labels
from harness.kit.randomness import generator_of, global_stream_from
from harness_pml.cards import OURS, PmlLoss, PmlMiner, PmlParams

DISTANCES = {
    "euclidean": (distances.LpDistance, {}),
    "squared_euclidean": (distances.LpDistance, {"power": 2}),
    "cosine": (distances.CosineSimilarity, {}),
    "dot": (distances.DotProductSimilarity, {}),
    "snr": (distances.SNRDistance, {}),
}
REDUCERS = {
    "mean": reducers.MeanReducer,
    "sum": reducers.SumReducer,
    "avg_non_zero": reducers.AvgNonZeroReducer,
}


class PmlObjective(nn.Module):
    """Calls a loss class with the tuples of a miner, if there are any.

    Its weights are in the state under the names of the class, after `loss.`.
    """

    def __init__(self, loss: nn.Module, *, num_classes: int) -> None:
        super().__init__()
        self.loss = loss
        self.num_classes = num_classes

    def forward(self, batch: Batch, progress: Progress) -> Tensor:
        """Return the loss.

        Raises:
            HarnessError: A label is out of range.
        """
        check_labels(batch.labels, self.num_classes)
        tuples = None if batch.tuples is None else tuple(batch.tuples)
        return self.loss(batch.embeddings, batch.labels, tuples)


class PmlBatchMiner:
    """Calls a miner class; what is random in it follows torch's global stream."""

    def __init__(self, miner: nn.Module) -> None:
        self.miner = miner

    def __call__(self, batch: Batch, progress: Progress) -> Tuples:
        """Return index tuples into the batch."""
        found: tuple[Tensor, ...] = self.miner(batch.embeddings, batch.labels)
        return Triplets(*found) if len(found) == len(Triplets._fields) else Pairs(*found)


def assemble_loss(entry: PmlLoss, params: PmlParams, context: BuildContext) -> LossParts:
    """Build a loss class; its weights are drawn from the context's generator."""
    options = params.model_dump()
    arguments = shared_arguments(options)
    arguments |= {theirs: getattr(context, ours) for theirs, ours in entry.sizes.items()}
    if options.get("beta_per_class"):
        arguments["num_classes"] = context.num_classes
    arguments |= regularizer_arguments(options, context)
    with global_stream_from(generator_of(context)):
        loss: nn.Module = getattr(losses, entry.class_name)(**arguments)
    objective = PmlObjective(loss, num_classes=context.num_classes)
    weights = list(objective.parameters())
    group = ParamGroup("loss", weights, lr_scale=options.get("lr_scale", 1.0))
    return LossParts(objective=objective, param_groups=(group,) if weights else ())


def assemble_miner(entry: PmlMiner, params: PmlParams) -> PmlBatchMiner:
    """Build a miner class."""
    return PmlBatchMiner(
        getattr(miners, entry.class_name)(**shared_arguments(params.model_dump()))
    )


def shared_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a class: its own, and the objects that ours stand for."""
    arguments = {name: value for name, value in options.items() if name not in OURS}
    if options.get("distance") is not None:
        make, fixed = DISTANCES[options["distance"]]
        arguments["distance"] = make(normalize_embeddings=options["normalize_embeddings"], **fixed)
    if options.get("reducer") is not None:
        arguments["reducer"] = REDUCERS[options["reducer"]]()
    return arguments


def regularizer_arguments(options: dict[str, Any], context: BuildContext) -> dict[str, Any]:
    """Return the penalties of the two losses for which the reality check searched one."""
    if options.get("embedding_reg_weight"):
        return {
            "embedding_regularizer": regularizers.ZeroMeanRegularizer(),
            "embedding_reg_weight": options["embedding_reg_weight"],
        }
    if options.get("weight_reg_weight"):
        return {
            "weight_regularizer": regularizers.SparseCentersRegularizer(
                context.num_classes, options["centers_per_class"]
            ),
            "weight_reg_weight": options["weight_reg_weight"],
        }
    return {}
