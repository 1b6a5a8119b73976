from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from harness.api import HarnessError, LossSpec, MetricSpec, MinerSpec, Params
from harness.registry import Entry, Origin, Registry, check_kind, params

ACME = Origin("acme-dml", "1.0", "acme", "acme_dml")
OTHER = Origin("Other_Losses", "2.0", "other", "other_losses")


class TauParams(Params):
    tau: Annotated[float, Field(gt=0, le=100, description="inverse temperature")] = 32.0


class TopK(Params):
    k: Annotated[int, Field(ge=1, le=1000, description="neighbours")]


def build(params: object, context: object) -> None:
    raise NotImplementedError


def metric(name: str, params: type[Params] = Params) -> MetricSpec:
    return MetricSpec(name=name, summary="A metric", build=build, params=params)


REGISTRY = Registry(
    plugins=(),
    cards=(
        Entry(LossSpec(name="hist", summary="", build=build, params=TauParams), ACME),
        Entry(LossSpec(name="shared", summary="", build=build), ACME),
        Entry(LossSpec(name="shared", summary="", build=build), OTHER),
        Entry(LossSpec(name="similarity", summary="", build=build), ACME),
        Entry(MinerSpec(name="similarity", summary="", build=build), ACME),
        Entry(metric("map_at_r"), ACME),
        Entry(metric("recall_at_k", TopK), ACME),
        Entry(metric("odd_at_7"), ACME),
    ),
)


@pytest.mark.parametrize("name", ["hist", "acme-dml:hist", "ACME_DML:hist", "acme:hist"])
def test_a_card_is_found_by_short_and_by_qualified_name(name: str):
    assert REGISTRY.get("loss", name).qualified == "acme-dml:hist"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("hist", ("loss", "acme-dml"), id="short"),
        pytest.param("miner:similarity", ("miner", "acme-dml"), id="kind"),
        pytest.param("loss:acme-dml:similarity", ("loss", "acme-dml"), id="kind-and-dist"),
        pytest.param("other-losses:shared", ("loss", "Other_Losses"), id="dist"),
        pytest.param("loss:other:shared", ("loss", "Other_Losses"), id="kind-and-entry-point"),
    ],
)
def test_find_understands_each_spelling(name: str, expected: tuple[str, str]):
    entry = REGISTRY.find(name, ["loss", "miner"])

    assert (entry.kind, entry.origin.distribution) == expected


@pytest.mark.parametrize(
    ("name", "kinds", "message", "hint"),
    [
        pytest.param("hits", ["loss"], "unknown loss 'hits'", "did you mean 'hist'", id="near"),
        pytest.param("hist", ["miner"], "unknown miner 'hist'", "'hist' is a loss", id="kind"),
        pytest.param(
            "nobody:hist", ["loss"], "unknown loss", "a loss of acme-dml:acme", id="owner"
        ),
        pytest.param(
            "similarity",
            ["loss", "miner"],
            "'similarity' is ambiguous",
            "type loss:similarity or miner:similarity",
            id="two-kinds",
        ),
        pytest.param(
            "shared",
            ["loss", "miner"],
            "loss of acme-dml:acme and loss of Other_Losses:other",
            "type acme-dml:shared or Other_Losses:shared",
            id="two-owners",
        ),
        pytest.param("miner:hist", ["loss", "miner"], "unknown miner", "is a loss", id="wrong"),
        pytest.param("", ["loss"], "unknown loss ''", "harness show loss", id="empty"),
    ],
)
def test_a_name_that_means_nothing_or_two_things_is_refused(
    name: str, kinds: list, message: str, hint: str
):
    with pytest.raises(HarnessError) as error:
        REGISTRY.find(name, kinds)

    assert message in error.value.message
    assert hint in str(error.value.hint)


def test_an_unknown_kind_is_refused_with_the_near_one():
    with pytest.raises(HarnessError, match="unknown kind 'losses'") as error:
        check_kind("losses")

    assert error.value.hint == "did you mean 'loss'?"


@pytest.mark.parametrize(
    ("name", "card", "values"),
    [
        pytest.param("map_at_r", "map_at_r", {}, id="plain"),
        pytest.param("recall_at_10", "recall_at_k", {"k": 10}, id="family"),
        pytest.param("acme:recall_at_1", "recall_at_k", {"k": 1}, id="qualified-family"),
        pytest.param("odd_at_7", "odd_at_7", {}, id="exact-name-first"),
    ],
)
def test_metric_names_may_carry_k(name: str, card: str, values: dict[str, int]):
    entry, resolved = REGISTRY.metric(name)

    assert entry.name == card
    assert resolved.model_dump() == values


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("recall_at_0", "metric recall_at_k: k: 0 is less than 1", id="k-too-small"),
        pytest.param("recall_at_k", "k: this key is required", id="k-missing"),
        pytest.param("map_at_s", "unknown metric 'map_at_s'", id="unknown"),
        pytest.param("precision_at_3", "unknown metric 'precision_at_3'", id="unknown-family"),
    ],
)
def test_a_wrong_metric_is_refused(name: str, message: str):
    with pytest.raises(HarnessError, match=message):
        REGISTRY.metric(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"tau": 500}, "loss hist: tau: 500 is more than 100", id="range"),
        pytest.param({"tau": 0}, "loss hist: tau: 0 must be more than 0", id="open-range"),
        pytest.param({"tau": "5"}, "loss hist: tau: must be a number, is '5'", id="text"),
        pytest.param({"tau": True}, "loss hist: tau: must be a number, is true", id="boolean"),
        pytest.param({"tua": 5}, "loss hist: tua: unknown key (did you mean 'tau'?)", id="typo"),
        pytest.param({"zzz": 5}, "loss hist: zzz: unknown key (it has tau)", id="unknown"),
        pytest.param({"tau": float("nan")}, "loss hist: tau: must be a finite", id="nan"),
        pytest.param({"tau": 1j}, "loss hist: 1j is a complex", id="not-plain"),
    ],
)
def test_a_wrong_parameter_is_refused(values: dict[str, object], message: str):
    with pytest.raises(HarnessError) as error:
        params(REGISTRY.get("loss", "hist"), values)

    assert error.value.message.startswith(message)
