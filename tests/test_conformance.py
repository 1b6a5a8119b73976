"""Every registered loss and miner passes the checks that plugins of others are held to."""

import pytest

from harness.registry import Entry, discover
from harness.testing.conformance import check_loss, check_miner

REGISTRY = discover()

# Why a loss cannot pass a check; a reason that no longer holds is a failure, too.
EXPECTED_FAILURES = {
    "npairs": {"order_of_the_batch_does_not_matter": "takes the first pair of each class"},
    "nca": {"singletons_give_a_finite_loss_or_an_error": "the library's mean of no losses is NaN"},
}


@pytest.mark.parametrize("entry", REGISTRY.entries("loss"), ids=lambda entry: entry.qualified)
@pytest.mark.filterwarnings("ignore:Values of Tp or Tn")
def test_loss_conforms(entry: Entry):
    findings = check_loss(entry.card, expected_failures=EXPECTED_FAILURES.get(entry.name))

    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("entry", REGISTRY.entries("miner"), ids=lambda entry: entry.qualified)
def test_miner_conforms(entry: Entry):
    findings = check_miner(entry.card)

    assert not findings, "\n".join(map(str, findings))
