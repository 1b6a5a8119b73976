from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError
from harness.plan import Request, make_plan
from harness.protocol import Protocol, with_values
from harness.registry import Registry


@pytest.mark.parametrize(
    ("request_", "message", "hint"),
    [
        pytest.param(
            {},
            "no loss: protocol small leaves it open",
            "--plugin NAME; harness show loss lists 5",
            id="none",
        ),
        pytest.param({"plugins": ("plane",)}, "unknown component 'plane'", "'plain'", id="typo"),
        pytest.param({"plugins": ("pairwise",)}, "is ambiguous", "acme-dml:pairwise", id="clash"),
        pytest.param(
            {"plugins": ("both",)}, "is ambiguous", "type loss:both or miner:both", id="two-kinds"
        ),
        pytest.param(
            {"plugins": ("plain", "triplet")}, "names two components of kind loss", "one", id="two"
        ),
        pytest.param(
            {"plugins": ("plain", "shuffle")},
            "protocol small fixes its sampler (blocks)",
            "--deviate sampler.name=shuffle",
            id="closed-kind",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.name=triplet",)},
            "--plugin plain already names the loss",
            "keep one",
            id="named-twice",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss={name: triplet}",)},
            "already names the loss",
            "keep one",
            id="whole-component",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tua=3",)},
            "loss plain: tua: unknown key (did you mean 'tau'?)",
            "",
            id="parameter-typo",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tau=500",)},
            "loss plain: tau: 500 is more than 100",
            "",
            id="parameter-range",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tau=much",)},
            "loss plain: tau: must be a number, is 'much'",
            "",
            id="parameter-type",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("training.epoch=3",)},
            "--set: 'training.epoch' names no field (did you mean 'epochs'?)",
            "",
            id="field-typo",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("training.epochs=-3",)},
            "training.epochs: -3 is less than 0",
            "",
            id="field-range",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("head.dim=64",)},
            "--set head.dim=64: protocol small fixes head.dim (16)",
            "--deviate head.dim=64",
            id="closed-field",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("sampler.m=8",)},
            "protocol small fixes sampler.m (4)",
            "open here: loss, miner, training.epochs, training.optimizer.lr",
            id="closed-parameter",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("training.optimizer={name: Adam, lr: 1}",)},
            "protocol small fixes training.optimizer",
            "--deviate training.optimizer",
            id="closed-parent-of-open",
        ),
        pytest.param(
            {"plugins": ("plain",), "deviations": ("name=other",)},
            "--deviate: 'name' belongs to the protocol itself",
            "",
            id="identity",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tau",)},
            "--set 'loss.tau' is not PATH=VALUE",
            "--set",
            id="no-value",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("=3",)}, "is not PATH=VALUE", "", id="no-path"
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.tau=1", "loss.params.tau=2")},
            "--set loss.tau is given twice",
            "",
            id="twice",
        ),
        pytest.param(
            {
                "plugins": ("plain",),
                "settings": ("training.epochs=1",),
                "deviations": ("training.epochs=2",),
            },
            "training.epochs is given twice",
            "",
            id="set-and-deviate",
        ),
        pytest.param(
            {"plugins": ("plain",), "settings": ("loss.mode=no",)},
            "--set loss.mode: no is read differently",
            "quote it",
            id="ambiguous",
        ),
        pytest.param({"recipe": "publishd"}, "unknown recipe", "'published'", id="recipe"),
        pytest.param(
            {"recipe": "published", "plugins": ("acme:pairwise",)},
            "recipe published is for the loss acme-dml:plain, not acme-dml:pairwise",
            "--plugin plain",
            id="other-recipe",
        ),
        pytest.param(
            {"plugins": ("triplet",)},
            "loss triplet needs a miner of triplets",
            "one of all_triplets",
            id="miner-missing",
        ),
        pytest.param(
            {"plugins": ("triplet", "all_pairs")},
            "loss triplet takes triplets, miner all_pairs gives pairs",
            "one of all_triplets",
            id="miner-misfit",
        ),
        pytest.param(
            {"plugins": ("plain", "all_pairs")},
            "loss plain uses no mined tuples",
            "leave --plugin all_pairs out",
            id="miner-useless",
        ),
        pytest.param(
            {"plugins": ("triplet", "all_triplets"), "deviations": ("sampler.m=1",)},
            "loss triplet needs 2 images per class in a batch, sampler blocks gives m=1",
            "at least 2",
            id="min-per-class",
        ),
        pytest.param(
            {"plugins": ("plain",), "deviations": ("backbone.weights=imagnet",)},
            "backbone.weights 'imagnet' is no file, and not one of none, imagenet",
            "'imagenet'",
            id="weights",
        ),
        pytest.param(
            {"plugins": ("plain",), "deviations": ("backbone.weights=no/where.pth",)},
            "backbone.weights 'no/where.pth' is no file",
            "set backbone.weights: imagenet",
            id="weights-file",
        ),
        pytest.param(
            {"plugins": ("plain",), "deviations": ("head.kind=identity",)},
            "head.kind identity keeps the 8 features of tiny, head.dim is 16",
            "head.dim: 8",
            id="identity-head",
        ),
        pytest.param(
            {"plugins": ("plain",), "folds": (4,)},
            "fold 4: protocol small has folds 0 to 3",
            "",
            id="fold",
        ),
        pytest.param({"plugins": ("plain",), "folds": (-1,)}, "fold -1", "", id="fold-negative"),
        pytest.param(
            {"plugins": ("plain",), "folds": (1, 1)}, "fold 1 is given twice", "", id="folds"
        ),
        pytest.param({"plugins": ("plain",), "folds": ()}, "no fold to run", "", id="no-fold"),
        pytest.param(
            {"plugins": ("plain",), "seeds": (2, 2)}, "seed 2 is given twice", "", id="seeds"
        ),
        pytest.param(
            {"plugins": ("plain",), "seeds": (-2,)}, "seed -2 is negative", "", id="seed"
        ),
    ],
)
def test_a_request_that_cannot_be_run_is_refused(
    small: Protocol, registry: Registry, request_: dict[str, Any], message: str, hint: str
):
    with pytest.raises(HarnessError) as error:
        make_plan(small, registry, Request(**request_))

    assert message in error.value.message
    assert hint in str(error.value.hint)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        pytest.param({"dataset.name": "toyz"}, "unknown dataset 'toyz'", id="dataset"),
        pytest.param({"sampler.n": 4}, "sampler blocks: n: unknown key", id="parameter"),
        pytest.param({"evaluation.metrics": ["recall"]}, "unknown metric 'recall'", id="metric"),
        pytest.param({"selection.metric": "map"}, "unknown metric 'map'", id="selection-metric"),
        pytest.param(
            {"open": ["training.epochs"]}, "recipe published: loss.tau=8: protocol", id="recipe"
        ),
    ],
)
def test_a_protocol_that_cannot_be_run_is_refused(
    small: Protocol, registry: Registry, values: dict[str, Any], message: str
):
    protocol = with_values(small, {"loss.name": "plain", **values})

    with pytest.raises(HarnessError) as error:
        make_plan(protocol, registry, Request(recipe="published"))

    assert message in error.value.message


def test_a_weights_file_that_exists_is_accepted(
    small: Protocol, registry: Registry, tmp_path: Path
):
    file = tmp_path / "own.pth"
    file.touch()
    request = Request(plugins=("plain",), deviations=(f"backbone.weights={file}",))

    runs = make_plan(small, registry, request)

    assert runs[0].protocol.backbone.weights == str(file)
