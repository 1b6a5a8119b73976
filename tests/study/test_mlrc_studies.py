"""The studies of "A Metric Learning Reality Check" say what the paper's plots and code say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.registry import discover
from harness.study import load
from harness.study.document import protocols_of
from harness.study.work import Work, work_of

FOLDER = Path(__file__).parents[2] / "studies"
Bounds = Mapping[str, tuple[float, float, bool]]

RATE = (1e-6, 1.0, True)  # of the loss's own weights
WIDE, UNIT = (-0.2, 2.0, False), (0.0, 1.0, False)
# Axis ranges of the published plots: low, high, logarithmic; and where a data set differs.
PLOTS: Mapping[str, Bounds] = {
    "contrastive": {"loss.pos_margin": WIDE, "loss.neg_margin": WIDE},
    "triplet": {"loss.margin": WIDE},
    "ntxent": {"loss.temperature": (1e-5, 100, True)},
    "proxy-nca": {"loss.softmax_scale": (0.01, 100, False), "training.loss_optimizer.lr": RATE},
    "margin": {"loss.margin": WIDE, "loss.beta": WIDE, "training.loss_optimizer.lr": RATE},
    "margin-class": {"loss.margin": WIDE, "loss.beta": WIDE, "training.loss_optimizer.lr": RATE},
    "normalized-softmax": {
        "loss.temperature": (0.01, 100, True),
        "training.loss_optimizer.lr": RATE,
    },
    "cosface": {
        "loss.margin": UNIT,
        "loss.scale": (0.01, 200, False),
        "training.loss_optimizer.lr": RATE,
    },
    "arcface": {
        "loss.margin": (0, 90, False),
        "loss.scale": (0.01, 200, False),
        "training.loss_optimizer.lr": RATE,
    },
    "snr-contrastive": {
        "loss.pos_margin": (0, 2, False),
        "loss.neg_margin": (0, 2, False),
        "loss.embedding_reg_weight": UNIT,
    },
    "multi-similarity": {
        "loss.alpha": (0.01, 100, False),
        "loss.beta": (0.01, 100, False),
        "loss.base": UNIT,
    },
    "multi-similarity-miner": {
        "loss.alpha": (0.01, 100, False),
        "loss.beta": (0.01, 100, False),
        "loss.base": UNIT,
        "miner.epsilon": UNIT,
    },
    "soft-triple": {
        "loss.la": (0.01, 100, False),
        "loss.gamma": (0.01, 100, False),
        "loss.weight_reg_weight": UNIT,
        "loss.margin": UNIT,
        "training.loss_optimizer.lr": RATE,
    },
}
DIFFERENT: Mapping[str, Mapping[tuple[str, str], tuple[float, float, bool] | None]] = {
    "mlrc_cub": {
        ("ntxent", "loss.temperature"): (1e-4, 100, True),
        ("multi-similarity", "loss.alpha"): (0.001, 100, False),
        ("multi-similarity-miner", "loss.alpha"): (0.001, 100, False),
        ("soft-triple", "loss.gamma"): (1e-4, 100, False),
    },
    "mlrc_cars": {},
    "mlrc_sop": {
        ("arcface", "loss.scale"): (0.01, 300, False),
        ("multi-similarity-miner", "loss.beta"): (0.01, 200, False),
        ("soft-triple", "loss.la"): (0.01, 200, False),
        ("soft-triple", "loss.weight_reg_weight"): None,  # not searched
    },
}


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Work]:
    """Return what a study comes to, without its data or weights."""
    monkeypatch.chdir(FOLDER.parent)

    def plan(name: str) -> Work:
        study = load(name)
        return work_of(study, discover(), protocols_of(study, FOLDER))

    return plan


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_loss_has_the_bounds_of_its_plot(name: str):
    expected = {
        method: {
            path: bounds
            for path, usual in plot.items()
            if (bounds := DIFFERENT[name].get((method, path), usual)) is not None
        }
        for method, plot in PLOTS.items()
    }

    study = load(FOLDER / f"{name}.yaml")

    assert {
        method.name: {path: (*d.ends, d.log) for path, d in method.space.items()}
        for method in study.methods
    } == expected


@pytest.mark.parametrize("name", DIFFERENT)
def test_each_loss_has_fifty_trials_on_four_folds_and_ten_fresh_repeats(
    name: str, planned: Callable[[str], Work]
):
    work = planned(name)

    assert len(work.tuned) == 13
    assert work.num_cells == 13 * (50 + 10) * 4
    assert (work.cells, work.untuned, work.ensembles) == ((), (), True)
    assert {tuned.metric for tuned in work.tuned} == {"map_at_r"}


def test_fastap_is_tried_with_every_number_of_bins(planned: Callable[[str], Work]):
    work = planned("mlrc_fastap")

    assert len(work.tuned) == 3
    assert work.num_cells == 3 * (1 + 31 + 10) * 4


def test_the_boundary_of_the_margin_loss_is_learned_without_weight_decay():
    methods = {method.name: method for method in load(FOLDER / "mlrc_cub.yaml").methods}

    assert methods["margin"].params == {
        "loss.learn_beta": True,
        "training.loss_optimizer.weight_decay": 0,
    }
    assert methods["margin-class"].params["loss.beta_per_class"] is True
