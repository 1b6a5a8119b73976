"""How golden metrics of arXiv:2002.08473 are replayed: core's values, and that code's slips.

That code asks its search for more neighbours than there are, reads what is missing as the last
image of the set, and gives a class of one image the distance of another class. Core does neither;
what the slips add is computed here, on top of core's numbers.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from harness.evaluation import Embeddings, Ranking, clustering, diagnostics, rank, retrieval
from harness.testing.golden.cases import Case, Numbers
from harness.testing.golden.reading import refuse_unknown, tensor

PREFIXES = {"e": "euclidean", "c": "cosine"}
PIPELINE_DEPTHS = (1, 2, 4)
PIPELINE_MODES = (0, -1, 1, 2)


def _items(case: Case) -> Embeddings:
    """Return the embeddings of a case, in the float32 that rankings start from.

    A spectrum has no labels; it gets two that no one looks at.
    """
    refuse_unknown(case.inputs, ("embeddings", "labels"))
    values = tensor(case.inputs["embeddings"]).float()
    row = torch.arange(len(values))
    labels = tensor(case.inputs["labels"]) if "labels" in case.inputs else row % 2
    return Embeddings(values, labels, row)


# --- retrieval ----------------------------------------------------------------------------------


def recall(case: Case, _: torch.dtype) -> Numbers:
    """Return Recall@k by both distances."""
    refuse_unknown(case.params, ("k",), what="params")
    items = _items(case)
    return {
        f"{prefix}_recall@{k}": retrieval.rdml_recall_at_k(ranking, k=k)
        for prefix, distance in PREFIXES.items()
        for ranking in [rank(items, distance=distance)]
        for k in case.params["k"]
    }


def map_family(case: Case, _: torch.dtype) -> Numbers:
    """Return average precision at every depth, with that code's phantom hits and without."""
    items = _items(case)
    euclidean, cosine = (rank(items, distance=name) for name in PREFIXES.values())
    count = len(items)
    return {
        "mAP": _with_phantoms(euclidean, count),
        "mAP_c": retrieval.rdml_map_c(euclidean),
        "mAP_lim": _with_phantoms(euclidean, min(1023, count)),
        "mAP_1000": _with_phantoms(euclidean, 1000),
        "c_mAP_c": retrieval.rdml_map_c(cosine),
        "c_mAP_lim": _with_phantoms(cosine, min(1023, count)),
        "c_mAP_1000": _with_phantoms(cosine, 1000),
        "mAP_without_padding_bug": retrieval.rdml_map(euclidean),
        "mAP_standard_over_freq_minus_1": retrieval.mean_average_precision(euclidean),
        "MAP_at_R_standard": retrieval.map_at_r(euclidean),
    }


def _with_phantoms(ranking: Ranking, depth: int) -> float:
    """Return average precision to a depth, missing neighbours read as the last image."""
    if depth < ranking.num_queries:
        sums = ranking.precision_sum(depth)
    else:
        sums = ranking.precision_sum(len(ranking.gallery)) + _phantoms(ranking, depth)
    return float((sums / (ranking.num_relevant + 1)).mean())


def _phantoms(ranking: Ranking, depth: int) -> Tensor:
    """Return the precision at the ranks past the set, for queries of the last image's class."""
    ranks = torch.arange(ranking.num_queries, depth + 1).double()
    relevant = ranking.num_relevant.double()[:, None]
    precision = (relevant + ranks - ranking.num_queries + 1) / ranks
    return precision.sum(1) * (ranking.labels == ranking.labels[-1])


# --- clustering, given the assignment -----------------------------------------------------------


def nmi(case: Case, _: torch.dtype) -> Numbers:
    """Return mutual information."""
    found = clustering.normalized_mutual_information(_table(case))
    return {"nmi": found, "c_nmi": found}  # one assignment serves both distances


def f1(case: Case, _: torch.dtype) -> Numbers:
    """Return pairwise F1."""
    return {"f1": clustering.pairwise_f1_of(_table(case))}


def _table(case: Case) -> clustering.Contingency:
    return clustering.contingency(tensor(case.inputs["labels"]), tensor(case.inputs["assignment"]))


# --- how embeddings lie in space ----------------------------------------------------------------


def dists(case: Case, _: torch.dtype) -> Numbers:
    """Return distances inside and between classes."""
    ranking = rank(_items(case))
    inter = diagnostics.inter_class_distance(ranking)
    if bool(ranking.has_relevant.all()):
        return {
            "intra": diagnostics.intra_class_distance(ranking),
            "inter": inter,
            "intra_over_inter": diagnostics.intra_inter_ratio(ranking),
            "torch_path_inter": inter,
        }
    intra = _intra_with_borrowed(ranking.query)
    return {
        "intra": intra,
        "inter": inter,
        "intra_over_inter": intra / inter,
        "torch_path_inter": inter,
    }


def _intra_with_borrowed(items: Embeddings) -> float:
    """Return the mean over classes where a class of one has the distance of the second class."""
    found = [_intra_of(items, items.labels == label) for label in items.labels.unique()]
    values = [found[1] if value is None else value for value in found]
    return sum(value for value in values if value is not None) / len(values)


def _intra_of(items: Embeddings, members: Int[Tensor, " n"] | Tensor) -> float | None:
    """Return the distance inside one class; None for a class of one."""
    if int(members.sum()) == 1:
        return None
    one = Embeddings(items.values[members], items.labels[members], items.sample_ids[members])
    return diagnostics.intra_class_distance(rank(one))


def rho_spectrum(case: Case, _: torch.dtype) -> Numbers:
    """Return spectra and their decay, of a CPU (without the smallest value) and of a GPU."""
    refuse_unknown(case.params, ("embed_dim", "modes"), what="params")
    ranking = rank(_items(case))
    return {
        f"{path}@{mode}": _decay(ranking, mode, leave_out_smallest=smallest)
        for path, smallest in (("numpy_path", 1), ("torch_path", 0))
        for mode in case.params["modes"]
    }


def _decay(ranking: Ranking, mode: int, *, leave_out_smallest: int) -> float | Tensor:
    """Return what that code writes rho_spectrum@mode."""
    if mode == 0:
        return diagnostics.spectrum(ranking.query.values, leave_out_smallest=leave_out_smallest)
    if mode == -1:
        return diagnostics.spectral_decay_reverse(ranking, leave_out_smallest=leave_out_smallest)
    if mode == 2 and leave_out_smallest:  # noqa: PLR2004 - the value of the paper's figures
        return diagnostics.rdml_spectral_decay(ranking)
    return diagnostics.spectral_decay(
        ranking, leave_out=abs(mode) - 1, leave_out_smallest=leave_out_smallest
    )


# --- all together -------------------------------------------------------------------------------


def full_pipeline(case: Case, _: torch.dtype) -> Numbers:
    """Return all but clustering, whose initial centres are those of another library."""
    ranking = rank(_items(case), distance="euclidean")
    return {
        **{f"e_recall@{k}": retrieval.rdml_recall_at_k(ranking, k=k) for k in PIPELINE_DEPTHS},
        **{
            f"rho_spectrum@{mode}": _decay(ranking, mode, leave_out_smallest=1)
            for mode in PIPELINE_MODES
        },
        "mAP_c": retrieval.rdml_map_c(ranking),
        "dists@intra": diagnostics.intra_class_distance(ranking),
        "dists@inter": diagnostics.inter_class_distance(ranking),
        "dists@intra_over_inter": diagnostics.intra_inter_ratio(ranking),
    }
