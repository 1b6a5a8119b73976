"""Classes of pytorch-metric-learning that are not offered, and why."""

BASE = "a base class"

LOSSES_LEFT_OUT = {
    "BaseLossWrapper": BASE,
    "BaseMetricLossFunction": BASE,
    "EmbeddingRegularizerMixin": BASE,
    "GenericPairLoss": BASE,
    "WeightRegularizerMixin": BASE,
    "CrossBatchMemory": "wraps another loss, and its memory is filled by the caller",
    "MultipleLosses": "wraps other losses; a run has one loss",
    "SelfSupervisedLoss": "wraps another loss, and needs two views of each image",
    "VICRegLoss": "needs two views of each image and refuses labels",
    "ManifoldLoss": "refuses labels and draws classes at random",
    "InstanceLoss": "its targets are positions in the batch, so the order of images changes it",
    "SmoothAPLoss": (
        "takes the images per class for the number of classes: right only where both are equal"
    ),
    "DynamicSoftMarginLoss": (
        "keeps the graph of the step before in its histogram: the second backward pass fails"
    ),
    "ProxyAnchorLoss": "`proxy_anchor` computes what its authors' code does",
    "HistogramLoss": ("indexes with a list of lists, which torch announces to read differently"),
}

MINERS_LEFT_OUT = {
    "BaseMiner": BASE,
    "EmbeddingsAlreadyPackagedAsTriplets": "needs batches that are laid out as triplets",
}
