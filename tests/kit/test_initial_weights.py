from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.contracts import BackboneContext
from harness.errors import HarnessError
from harness.kit.initial_weights import load_initial_weights, load_state_dict


class Unpickled:
    """Would leave a file behind if the code in a pickle were run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3))


def filled(value: float = 0.5) -> dict[str, Tensor]:
    return {
        name: torch.full_like(tensor, value)
        for name, tensor in network().state_dict().items()
        if tensor.is_floating_point()
    }


def saved(folder: Path, content: object) -> Path:
    path = folder / "own.pt"
    torch.save(content, path)
    return path


def fill(module: nn.Module, path: Path, drop: tuple[str, ...] = ()) -> None:
    load_initial_weights(module, {}, BackboneContext(weights=str(path)), drop=drop)


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda state: state, id="plain"),
        pytest.param(lambda state: {"state_dict": state, "epoch": 3}, id="state_dict"),
        pytest.param(lambda state: {"model": state, "epoch": 3}, id="model"),
        pytest.param(
            lambda state: {f"module.{name}": value for name, value in state.items()},
            id="data-parallel",
        ),
    ],
)
def test_a_state_dict_is_found_where_training_scripts_put_it(tmp_path: Path, wrap):
    state = load_state_dict(saved(tmp_path, wrap(filled())))

    assert state.keys() == filled().keys()
    assert all(torch.equal(state[name], value) for name, value in filled().items())


def test_a_module_is_filled_and_its_batch_counter_may_be_missing(tmp_path: Path):
    module = network()

    fill(module, saved(tmp_path, filled()))

    own = module.state_dict()
    assert all(torch.equal(own[name], value) for name, value in filled().items())
    assert own["1.num_batches_tracked"].item() == 0


def test_none_leaves_a_module_as_it_is():
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}

    load_initial_weights(module, {}, BackboneContext(weights="none"))

    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


def test_batch_norms_of_the_first_torch_are_read(tmp_path: Path):
    module = network()
    old = {name: v[None] if v.ndim == 1 else v for name, v in filled().items()}

    fill(module, saved(tmp_path, old))

    assert torch.equal(module[1].running_var, torch.full((3,), 0.5))


def test_a_classifier_is_left_out_only_if_it_is_named(tmp_path: Path):
    path = saved(tmp_path, {**filled(), "fc.weight": torch.ones(2), "fc.bias": torch.ones(2)})

    fill(network(), path, drop=("fc.",))

    with pytest.raises(HarnessError, match=r"fc\.bias, fc\.weight unknown"):
        fill(network(), path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        pytest.param({"0.weight": None}, r"0\.weight missing", id="missing"),
        pytest.param({"2.weight": torch.ones(1)}, r"2\.weight unknown", id="unknown"),
        pytest.param({"0.bias": torch.ones(4)}, r"0\.bias of another shape", id="shape"),
        pytest.param(
            {
                "1.weight": None,
                "1.bias": None,
                "0.bias": None,
                "0.weight": None,
                "9": torch.ones(1),
            },
            r"0\.bias, 0\.weight, 1\.bias and 1 more missing; 9 unknown",
            id="many",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit_is_named_and_changes_nothing(
    tmp_path: Path, change: dict[str, Tensor | None], match: str
):
    state = {name: value for name, value in {**filled(), **change}.items() if value is not None}
    path = saved(tmp_path, state)
    module = network()
    before = {name: value.clone() for name, value in module.state_dict().items()}

    with pytest.raises(HarnessError, match=match) as caught:
        fill(module, path)

    assert str(path) in caught.value.message
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("content", "match"),
    [
        pytest.param([torch.ones(1)], "but a value of type list", id="list"),
        pytest.param({}, "but an empty one", id="empty"),
        pytest.param({"epoch": 3}, "'epoch' is of type int", id="number"),
        pytest.param(
            {"net": {"a": torch.ones(1)}}, "'net' is of type dict", id="nested-elsewhere"
        ),
    ],
)
def test_a_file_with_something_else_is_refused(tmp_path: Path, content: object, match: str):
    with pytest.raises(HarnessError, match=match):
        load_state_dict(saved(tmp_path, content))


def test_code_inside_a_file_is_never_run(tmp_path: Path):
    mark = tmp_path / "mark"
    path = tmp_path / "own.pt"
    path.write_bytes(pickle.dumps({"a": Unpickled(mark)}, protocol=2))

    with pytest.raises(HarnessError, match="holds no state dict") as caught:
        load_state_dict(path)

    assert not mark.exists()
    assert "torch.save(model.state_dict(), path)" in str(caught.value.hint)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_damaged_file_is_one_message(tmp_path: Path, zipped: bool):  # noqa: FBT001
    path = tmp_path / "own.pt"
    torch.save(filled(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    chance = random.Random(0)

    for length in chance.sample(range(len(whole) - 200), 40):
        path.write_bytes(whole[:length])
        with pytest.raises(HarnessError):
            load_state_dict(path)


def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path):
    with pytest.raises(HarnessError, match="cannot read"):
        load_state_dict(tmp_path / "absent.pt")
