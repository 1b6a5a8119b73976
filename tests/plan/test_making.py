from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from harness.plan import Request, Run, make_plan
from harness.protocol import Protocol, digest, value_at, with_values
from harness.registry import Registry
from harness.specs import LossSpec


def first(protocol: Protocol, registry: Registry, **request: Any) -> Run:
    return make_plan(protocol, registry, Request(**request))[0]


def test_a_plan_has_every_fold_of_every_seed(small: Protocol, registry: Registry):
    runs = make_plan(small, registry, Request(plugins=("plain",)))

    assert [(run.seed, run.fold) for run in runs] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({run.key for run in runs}) == 4
    assert len({run.pair_key for run in runs}) == 4
    assert len({run.method_key for run in runs}) == 1


def test_a_request_may_name_its_folds_and_seeds(small: Protocol, registry: Registry):
    request = Request(plugins=("plain",), folds=(3, 0), seeds=(7,))

    runs = make_plan(small, registry, request)

    assert [(run.seed, run.fold) for run in runs] == [(7, 3), (7, 0)]


def test_a_run_holds_what_was_chosen_with_resolved_parameters(small: Protocol, registry: Registry):
    run = first(small, registry, plugins=("plain",), settings=("loss.tau=24",))

    assert run.loss.card.name == "plain"
    assert run.loss.params.model_dump() == {"tau": 24.0, "alpha": 0.9, "mode": "soft"}
    assert run.miner is None
    assert run.sampler.params.model_dump() == {"m": 4}
    assert run.protocol_digest == digest(small)
    assert run.settings == (("loss.tau", "24"),)
    assert [kind for kind, _ in run.components] == ["loss", "sampler", "backbone", "dataset"]


def test_metrics_come_by_the_protocol_s_names_and_the_selecting_one_last(
    small: Protocol, registry: Registry
):
    run = first(small, registry, plugins=("plain",))

    assert [name for name, _ in run.metrics] == ["precision", "recall_at_1", "map_at_r"]
    assert dict(run.metrics)["recall_at_1"].params.model_dump() == {"k": 1}


def test_a_setting_reaches_the_protocol_of_the_run(small: Protocol, registry: Registry):
    run = first(small, registry, plugins=("plain",), settings=("training.epochs=3",))

    assert run.protocol.training.epochs == 3
    assert small.training.epochs == 10
    assert run.deviations == ()


# --- labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "label"),
    [
        pytest.param({"plugins": ("plain",)}, "plain", id="defaults"),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tau=32.0",)}, "plain", id="default-written"
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tau=24",)}, "plain[tau=24]", id="parameter"
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tau=0.5", "loss.mode=hard")},
            "plain[mode=hard,tau=0.5]",
            id="sorted",
        ),
        pytest.param(
            {"plugins": ("acme:pairwise", "all_pairs"), "settings": ("loss.tau=2",)},
            "acme-dml:pairwise+all_pairs[loss.tau=2]",
            id="miner-and-shared-name",
        ),
        pytest.param(
            {"plugins": ("all_pairs", "acme-dml:pairwise")},
            "acme-dml:pairwise+all_pairs",
            id="loss-before-miner",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("training.epochs=40", "loss.tau=2")},
            "plain[tau=2,training.epochs=40]",
            id="field",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("training.epochs=10",)}, "plain", id="field-same"
        ),
        pytest.param(
            {"plugins": ("plain",), "deviations": ("sampler.name=shuffle",)},
            "plain+shuffle",
            id="other-sampler",
        ),
        pytest.param(
            {"plugins": ("plain",), "deviations": ("sampler.m=2", "head.dim=8")},
            "plain[head.dim=8,sampler.m=2]",
            id="deviations",
        ),
        pytest.param({"recipe": "published"}, "plain@published", id="recipe"),
        pytest.param(
            {"recipe": "published", "settings": ("loss.tau=9",)},
            "plain@published[tau=9]",
            id="recipe-changed",
        ),
        pytest.param({"plugins": ("plain",), "smoke": True}, "plain", id="smoke"),
    ],
)
def test_a_method_is_called_by_what_differs_from_the_defaults(
    small: Protocol, registry: Registry, request_: dict[str, Any], label: str
):
    assert first(small, registry, **request_).method == label


def test_what_a_protocol_says_about_its_loss_is_part_of_the_method(
    small: Protocol, registry: Registry
):
    protocol = with_values(small, {"loss.name": "plain", "loss.tau": 5})

    assert first(protocol, registry).method == "plain[tau=5]"
    assert first(protocol, registry, plugins=("plain",)).method == "plain[tau=5]"
    assert first(protocol, registry, plugins=("acme:pairwise",)).method == "acme-dml:pairwise"


def test_a_miner_of_the_protocol_can_be_taken_away(small: Protocol, registry: Registry):
    protocol = with_values(small, {"loss.name": "both", "miner.name": "all_pairs"})

    run = first(protocol, registry, settings=("miner=null",))

    assert run.miner is None
    assert run.method == "both"


# --- recipes -------------------------------------------------------------------------------------


def test_a_recipe_brings_its_loss_and_its_values(small: Protocol, registry: Registry):
    run = first(small, registry, recipe="published")

    assert run.loss.params.model_dump()["tau"] == 8
    assert run.protocol.training.epochs == 40
    assert run.recipe == "published"
    assert run.settings == (("loss.tau", "8"), ("training.epochs", "40"))


def test_a_setting_overrides_a_recipe(small: Protocol, registry: Registry):
    run = first(small, registry, recipe="published", settings=("training.epochs=3",))

    assert run.protocol.training.epochs == 3
    assert dict(run.settings)["training.epochs"] == "3"


# --- keys ----------------------------------------------------------------------------------------


def test_the_order_and_spelling_of_a_request_does_not_change_keys(
    small: Protocol, registry: Registry
):
    settings = ("loss.tau=2", "training.epochs=3", "loss.params.alpha=0.5")
    plugins = ("acme:pairwise", "all_pairs")
    keys = {
        first(small, registry, plugins=tuple(chosen), settings=tuple(given)).key
        for given in permutations(settings)
        for chosen in (plugins, plugins[::-1], ("loss:acme-dml:pairwise", "miner:all_pairs"))
    }

    assert len(keys) == 1


@pytest.mark.parametrize(
    "same",
    [
        {"settings": ("loss.tau=32",)},
        {"settings": ("training.epochs=10",)},
        {"settings": ("training.optimizer.lr=0.01",)},
        {"plugins": ("plain", "blocks")},
        {"deviations": ("head.dim=16",)},
        {"deviations": ("sampler.m=4",)},
    ],
    ids=str,
)
def test_saying_what_holds_anyway_does_not_change_the_key(
    small: Protocol, registry: Registry, same: dict[str, Any]
):
    bare = first(small, registry, plugins=("plain",))

    assert first(small, registry, **{"plugins": ("plain",), **same}).key == bare.key


@pytest.mark.parametrize(
    "different",
    [
        {"settings": ("loss.tau=31",)},
        {"settings": ("training.epochs=11",)},
        {"plugins": ("acme:pairwise",)},
        {"plugins": ("rival:pairwise",)},
        {"plugins": ("acme:pairwise", "all_pairs")},
        {"deviations": ("head.dim=8",)},
        {"deviations": ("sampler.m=2",)},
        {"deviations": ("backbone.weights=imagenet",)},
        {"smoke": True},
        {"folds": (1,)},
        {"seeds": (1,)},
    ],
    ids=str,
)
def test_whatever_determines_the_result_changes_the_key(
    small: Protocol, registry: Registry, different: dict[str, Any]
):
    bare = first(small, registry, plugins=("plain",))

    assert first(small, registry, **{"plugins": ("plain",), **different}).key != bare.key


def test_a_new_version_of_a_plugin_is_another_run(small: Protocol, registry: Registry):
    from dataclasses import replace

    updated = Registry(
        (),
        tuple(
            replace(entry, origin=replace(entry.origin, version="1.1")) for entry in registry.cards
        ),
    )

    bare = first(small, registry, plugins=("plain",))

    assert first(small, updated, plugins=("plain",)).key != bare.key


def test_documentation_and_seeds_of_a_protocol_do_not_change_keys(
    small: Protocol, registry: Registry
):
    other = with_values(small, {"summary": "Other words.", "caveats": ["Beware"], "seeds": [0, 5]})

    assert (
        first(other, registry, plugins=("plain",)).key
        == first(small, registry, plugins=("plain",)).key
    )


def test_two_methods_pair_by_protocol_fold_and_seed(small: Protocol, registry: Registry):
    one = make_plan(small, registry, Request(plugins=("plain",)))
    two = make_plan(small, registry, Request(plugins=("acme:pairwise",), settings=("loss.tau=1",)))

    assert [run.pair_key for run in one] == [run.pair_key for run in two]
    assert {run.key for run in one}.isdisjoint(run.key for run in two)


# --- rehearsal and deviations --------------------------------------------------------------------


def test_a_rehearsal_cuts_the_budget_and_is_marked(small: Protocol, registry: Registry):
    protocol = with_values(small, {"backbone.weights": "imagenet"})

    runs = make_plan(protocol, registry, Request(plugins=("plain",), smoke=True))

    (run,) = runs
    assert run.smoke
    assert (run.fold, run.seed) == (0, 0)
    assert run.protocol.training.epochs == 1
    assert run.protocol.training.iterations_per_epoch == 2
    assert run.protocol.training.warmup.epochs == 1
    assert run.protocol.backbone.weights == "none"
    assert run.deviations == ()


def test_a_rehearsal_never_enlarges_a_budget(small: Protocol, registry: Registry):
    values = {"training.epochs": 0, "training.iterations_per_epoch": 1, "training.warmup": {}}

    run = first(with_values(small, values), registry, plugins=("plain",), smoke=True)

    budget = [value_at(run.protocol, f"training.{path}") for path in ("epochs", "warmup.epochs")]
    assert [*budget, run.protocol.training.iterations_per_epoch] == [0, 0, 1]


def test_a_rehearsal_takes_the_folds_and_seeds_it_is_given(small: Protocol, registry: Registry):
    request = Request(plugins=("plain",), folds=(0, 1), seeds=(4, 5), smoke=True)

    assert len(make_plan(small, registry, request)) == 4


def test_deviations_are_listed_with_their_values(small: Protocol, registry: Registry):
    deviations = ("training.batch_size=16", "sampler.m=2", "training.epochs=3", "head.dim=16")

    run = first(small, registry, plugins=("plain",), deviations=deviations)

    # training.epochs is open, head.dim is 16 already
    assert run.deviations == ("sampler.m=2", "training.batch_size=16")
    assert dict(run.settings)["training.epochs"] == "3"


def test_another_sampler_starts_from_its_own_defaults(small: Protocol, registry: Registry):
    run = first(small, registry, plugins=("plain",), deviations=("sampler.name=shuffle",))

    assert run.sampler.card.name == "shuffle"
    assert run.sampler.params.model_dump() == {}


def test_a_loss_takes_a_miner_that_fits(small: Protocol, registry: Registry):
    run = first(small, registry, plugins=("triplet", "all_triplets"))

    assert isinstance(run.loss.card, LossSpec)
    assert run.miner is not None
    assert run.method == "triplet+all_triplets"
