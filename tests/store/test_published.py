import json
from collections import Counter
from pathlib import Path

from harness.protocol import load
from harness.registry import discover
from harness.store.database import query
from harness.store.published import published_numbers
from harness.store.writer import Store

PROTOCOLS = Path(__file__).parents[2] / "protocols"


def test_every_number_has_a_source_and_is_a_share():
    numbers = published_numbers()

    assert len(numbers) == 1010
    assert all(number.source and number.read_from and number.year >= 2015 for number in numbers)
    assert all(0 < number.value <= 1 for number in numbers if number.metric != "nmi")


def test_numbers_that_were_read_by_hand_a_second_time():
    """Proxy Anchor on CUB (BN-Inception, 512-d) and the Reality Check's ProxyNCA, as printed."""
    found = {
        (n.harness_protocol, n.harness_loss, n.metric): n.value
        for n in published_numbers()
        if n.source.startswith(("Proxy-Anchor repository", "MLRC"))
    }

    assert found["conventional_cub_bn_inception_512", "proxy_anchor", "recall_at_1"] == 0.691
    assert found["conventional_cub_resnet50_512", "proxy_anchor", "recall_at_1"] == 0.699


def test_what_stands_beside_ours_names_what_is_here():
    registry = discover()
    used = [number for number in published_numbers() if number.harness_protocol]

    assert len(used) > 300
    for number in used:
        protocol = load(PROTOCOLS / f"{number.harness_protocol}.yaml")
        assert registry.matching(str(number.harness_loss), ("loss",))
        assert registry.matching(str(number.harness_backbone), ("backbone",))
        assert number.metric in protocol.evaluation.metrics, number
        assert number.embedding_dim in (protocol.head.dim, 384)


def test_ensembles_and_validation_scores_stand_beside_nothing():
    beside = Counter(n.protocol for n in published_numbers() if n.harness_protocol)

    assert set(beside) == {"conventional", "mlrc-separated"}


def test_the_view_has_every_number(store: Store):
    found = query(store, "SELECT * FROM published").rows

    assert json.dumps(found) == json.dumps(published_numbers())
