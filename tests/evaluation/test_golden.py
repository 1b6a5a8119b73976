"""The numbers of the authors' evaluation code (arXiv:2002.08473, 2203.10833, 2206.08645).

Where their code slips and ours does not, the case says so and the value that we stand for is
checked instead.
"""

import json
import os
from pathlib import Path

import pytest
import torch

from harness.evaluation import Embeddings, clustering, diagnostics, rank, retrieval

HERE = Path(__file__).parent
FILES = (
    sorted(Path(os.environ["HARNESS_GOLDENS"]).glob("*.json"))
    if ("HARNESS_GOLDENS" in os.environ)
    else [HERE / "golden.json"]
)
CASES = [case for file in FILES for case in json.loads(file.read_text())]


def cases(method):
    return [pytest.param(case, id=case["case_id"]) for case in CASES if case["method"] == method]


def close(case, expected):
    tolerance = case["tolerance"].get("float64") or case["tolerance"]["float32"]
    return pytest.approx(expected, rel=tolerance["rtol"], abs=tolerance["atol"])


def tensor_of(case, name):
    return torch.tensor(case["inputs"][name], dtype=torch.float32)


def items_of(case, values="embeddings", labels="labels", first_id=0):
    label = torch.tensor(case["inputs"][labels])
    ids = torch.arange(first_id, first_id + len(label))
    return Embeddings(tensor_of(case, values), label, ids)


def poincare(curvature):
    """2 / sqrt(c) artanh(sqrt(c) |(-x) + y|), in the closed form of the norm of the sum."""

    def distance(query, gallery):
        x, y = query.unsqueeze(1), gallery.unsqueeze(0)
        squared = (x - y).square().sum(2)
        room = 1 - 2 * curvature * (x * y).sum(2)
        room = room + curvature**2 * x.square().sum(2) * y.square().sum(2)
        return 2 / curvature**0.5 * torch.atanh((curvature * squared / room).sqrt())

    return distance


def distance_of(case):
    curvature = case["params"]["hyp_c"]
    return poincare(curvature) if curvature else "cosine"


def recalls(ranking, case):
    return [retrieval.recall_at_k(ranking, k=k) for k in case["params"]["k"]]


@pytest.mark.parametrize(
    "case", [c for c in cases("hier.recall") if "query" not in c.id] + cases("hyp.recall")
)
def test_recall_in_the_ball(case):
    ranking = rank(items_of(case), distance=distance_of(case))

    expected = case["expected"]["recall"]
    share = [retrieval.rdml_recall_at_k(ranking, k=k) for k in case["params"]["k"]]
    assert share == close(case, expected)


@pytest.mark.parametrize("case", [c for c in cases("hier.recall") if "query" in c.id])
def test_recall_with_a_gallery_apart(case):
    query = items_of(case, "query", "query_labels")
    apart = items_of(case, "gallery", "gallery_labels", first_id=1000)
    colliding = items_of(case, "gallery", "gallery_labels")

    found = recalls(rank(query, apart, distance=distance_of(case)), case)
    hidden = recalls(rank(query, colliding, distance=distance_of(case)), case)

    assert found == close(case, case["expected"]["recall_disjoint_indices"])
    assert hidden == close(case, case["expected"]["recall_colliding_indices"])


@pytest.mark.parametrize("case", cases("hyp.recall_inshop"))
def test_in_shop_recall(case):
    query = items_of(case, "query", "query_labels")
    gallery = items_of(case, "gallery", "gallery_labels", first_id=1000)

    ranking = rank(query, gallery, distance=distance_of(case))

    assert recalls(ranking, case) == close(case, case["expected"]["recall"])


@pytest.mark.parametrize("case", cases("rdml.metric.recall"))
def test_rdml_recall(case):
    items = items_of(case)

    for prefix, distance in (("e", "euclidean"), ("c", "cosine")):
        ranking = rank(items, distance=distance)
        for k in case["params"]["k"]:
            expected = case["expected"][f"{prefix}_recall@{k}"]
            assert retrieval.rdml_recall_at_k(ranking, k=k) == close(case, expected)


@pytest.mark.parametrize("case", cases("rdml.metric.map_family"))
def test_rdml_map_family_without_its_phantom_hits(case):
    euclidean = rank(items_of(case), distance="euclidean")
    cosine = rank(items_of(case))
    expected = case["expected"]

    assert retrieval.rdml_map_c(euclidean) == close(case, expected["mAP_c"])
    assert retrieval.rdml_map_c(cosine) == close(case, expected["c_mAP_c"])
    assert retrieval.rdml_map(euclidean) == close(case, expected["mAP_without_padding_bug"])
    assert retrieval.rdml_map_1000(euclidean) == retrieval.rdml_map(euclidean)
    assert retrieval.rdml_map_lim(euclidean) == retrieval.rdml_map(euclidean)
    standard = expected["mAP_standard_over_freq_minus_1"]
    assert retrieval.mean_average_precision(euclidean) == close(case, standard)
    assert retrieval.map_at_r(euclidean) == close(case, expected["MAP_at_R_standard"])


@pytest.mark.parametrize("case", cases("rdml.metric.nmi") + cases("rdml.metric.f1"))
def test_rdml_clustering_given_the_assignment(case):
    inputs = case["inputs"]

    table = clustering.contingency(
        torch.tensor(inputs["labels"]), torch.tensor(inputs["assignment"])
    )

    score = {
        "nmi": clustering.normalized_mutual_information,
        "f1": clustering.pairwise_f1_of,
    }[case["method"].rpartition(".")[2]]
    assert score(table) == close(case, case["expected"][case["method"].rpartition(".")[2]])


@pytest.mark.parametrize("case", [c for c in cases("rdml.metric.dists") if "edge" not in c.id])
def test_rdml_distances(case):
    ranking = rank(items_of(case))

    expected = case["expected"]
    assert diagnostics.intra_class_distance(ranking) == close(case, expected["intra"])
    assert diagnostics.inter_class_distance(ranking) == close(case, expected["inter"])
    assert diagnostics.intra_inter_ratio(ranking) == close(case, expected["intra_over_inter"])


@pytest.mark.parametrize("case", [c for c in cases("rdml.metric.dists") if "edge" in c.id])
def test_a_class_of_one_is_left_out_rather_than_given_another_class_value(case):
    items = items_of(case)
    several = items.labels != 2
    without = Embeddings(items.values[several], items.labels[several], items.sample_ids[several])

    found = diagnostics.intra_class_distance(rank(items))

    assert found == pytest.approx(diagnostics.intra_class_distance(rank(without)), abs=1e-12)


@pytest.mark.parametrize("case", cases("rdml.metric.rho_spectrum"))
def test_rdml_spectral_decay_with_every_singular_value(case):
    values = tensor_of(case, "embeddings")
    row = torch.arange(len(values))
    ranking = rank(Embeddings(values, row % 2, row))
    expected = case["expected"]

    values = diagnostics.spectrum(ranking.query.values)

    assert values.tolist() == close(case, expected["torch_path@0"])
    assert diagnostics.spectral_decay(ranking) == close(case, expected["torch_path@1"])
    second = diagnostics.spectral_decay(ranking, leave_out=1)
    assert second == close(case, expected["torch_path@2"])
    reverse = diagnostics.spectral_decay_reverse(ranking)
    assert reverse == close(case, expected["torch_path@-1"])


@pytest.mark.parametrize("case", cases("rdml.metric.full_pipeline"))
def test_rdml_pipeline(case):
    ranking = rank(items_of(case), distance="euclidean")
    expected = case["expected"]

    for k in (1, 2, 4):
        found = retrieval.rdml_recall_at_k(ranking, k=k)
        assert found == close(case, expected[f"e_recall@{k}"])
    assert retrieval.rdml_map_c(ranking) == close(case, expected["mAP_c"])
    assert diagnostics.intra_class_distance(ranking) == close(case, expected["dists@intra"])
    assert diagnostics.inter_class_distance(ranking) == close(case, expected["dists@inter"])
