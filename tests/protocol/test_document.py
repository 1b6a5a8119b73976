from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.documents import Document, dump_yaml, validate
from harness.errors import HarnessError
from harness.protocol import (
    EXTRAS,
    OUTSIDE_DIGEST,
    Difference,
    Protocol,
    diff,
    digest,
    dump,
    is_open,
    load,
    value_at,
    with_values,
)

SHIPPED = sorted((Path(__file__).parents[2] / "protocols").glob("*.yaml"))


def leaves(data: Any, path: tuple = ()) -> Iterator[tuple]:
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        if isinstance(value, dict | list) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def changed(value: object) -> list[object]:
    """Return values of which at least one is valid wherever the given one is."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value + 4, value / 2, value - 1]
    if isinstance(value, str):
        return [
            f"{value}x",
            "last",
            "official",
            "identity",
            "avg+max",
            "kaiming_fan_out",
            "RMSprop",
            "bfloat16",
            "frozen",
            "euclidean",
            "bicubic",
            "lr_0",
            "features",
            "training.batch_size",
        ]
    return [
        1,
        0.5,
        8,
        {"every": 3, "gamma": 0.1},
        {"value": 3},
        ["small"],
        {"a": 1},
        {"name": "other"},
        {"name": "Adam", "lr": 1},
    ]


def replaced(data: dict, path: tuple, value: object) -> dict:
    result = copy.deepcopy(data)
    place = result
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return result


def mutations(protocol: Protocol) -> Iterator[tuple[tuple, list[Protocol]]]:
    """Yield every leaf with the valid protocols that differ from the given one only there."""
    data = protocol.model_dump(mode="json")
    for path in leaves(data):
        value = data
        for key in path:
            value = value[key]
        valid = [checked(replaced(data, path, other)) for other in changed(value)]
        yield path, [other for other in valid if other and other != protocol]


def checked(data: dict) -> Protocol | None:
    try:
        return validate(Protocol, Document("", data))
    except HarnessError:
        return None


def test_changing_any_leaf_changes_the_digest_unless_it_is_documentation(small: Protocol):
    own = digest(small)
    seen = dict(mutations(small))

    extras = {tuple(path.split(".")) for path in EXTRAS}
    same = {path for path, others in seen.items() for o in others if digest(o) == own}
    different = {path for path, others in seen.items() if any(digest(o) != own for o in others)}

    assert same - extras <= {path for path in seen if path[0] in OUTSIDE_DIGEST}
    assert {path[0] for path in same - extras} == OUTSIDE_DIGEST
    # schema_version has one value, a transform's step decides its other keys
    fixed = {("schema_version",)} | {path for path in seen if path[-1] == "step"}
    inside = {path for path in seen if path[0] not in OUTSIDE_DIGEST} - extras
    assert inside - different == fixed


def test_defaults_and_the_order_of_keys_do_not_change_the_digest(small: Protocol):
    data = small.model_dump(mode="json")
    backwards = dict(reversed(data.items()))
    del backwards["paper"]
    backwards["head"] = {"dim": 16}
    backwards["open"] = ["training.epochs", "miner", "loss", "loss"]

    assert digest(validate(Protocol, Document("", backwards))) == digest(small)


def test_the_digest_of_this_protocol_is_pinned(small: Protocol):
    """Results are comparable across versions of the software only while this holds."""
    assert digest(small)[:16] == "eb218209a62c0e82"


def test_a_field_added_later_changes_the_digest_only_when_it_says_something(small: Protocol):
    bilinear = "transforms.train.0.interpolation"

    silent = with_values(small, {bilinear: "bilinear", "evaluation.layer": "embeddings"})
    told = [
        with_values(small, {bilinear: "bicubic"}),
        with_values(small, {"evaluation.layer": "features"}),
        with_values(small, {"training.warmup": {"epochs": 0, "backbone": "lr_0"}}),
    ]

    assert digest(silent) == digest(small)
    assert len({digest(small), *map(digest, told)}) == 4


def test_comments_do_not_change_the_digest(small: Protocol, small_file: Path):
    small_file.write_text("# purpose\n" + small_file.read_text().replace("   # comments", " #"))

    assert digest(load(small_file)) == digest(small)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_every_shipped_protocol_survives_dump_and_load(file: Path, tmp_path: Path):
    protocol = load(file)
    copied = tmp_path / file.name
    copied.write_text(dump(protocol))

    assert load(copied) == protocol
    assert hash(load(copied)) == hash(protocol)
    assert digest(load(copied)) == digest(protocol)


def test_each_change_survives_dump_and_load(small: Protocol, small_file: Path):
    changes = [others[0] for path, others in mutations(small) if others and path != ("name",)]

    for other in changes:
        small_file.write_text(dump(other))
        assert load(small_file) == other


def test_equal_protocols_hash_equally(small: Protocol, small_file: Path):
    assert len({small, load(small_file)}) == 1


# --- loading ------------------------------------------------------------------------------------


@pytest.fixture
def in_folder(small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that has protocols/small.yaml."""
    (tmp_path / "protocols").mkdir()
    small_file.rename(tmp_path / "protocols" / "small.yaml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["small", "small.yaml", "protocols/small.yaml"])
def test_a_protocol_is_found_by_name_and_by_path(in_folder: Path, name: str):
    assert load(name).name == "small"


def test_a_folder_of_the_same_name_does_not_hide_a_protocol(in_folder: Path):
    (in_folder / "small").mkdir()

    assert load("small").name == "small"


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        pytest.param("smal", "smal: no such protocol file", "did you mean 'small'", id="near"),
        pytest.param("protocols/smal.yaml", "no such protocol file", "'small'", id="near-path"),
        pytest.param("zzz", "no such protocol", f"there are protocols{os.sep}small", id="far"),
        pytest.param("no/where.yaml", "no such protocol", "there are", id="no-folder"),
        pytest.param("protocols", "protocols: is a folder", "file", id="folder"),
    ],
)
def test_a_missing_protocol_is_refused(in_folder: Path, name: str, message: str, hint: str):
    with pytest.raises(HarnessError) as error:
        load(name)

    assert message in error.value.message
    assert hint in str(error.value.hint)


def test_a_protocol_must_be_called_like_its_file(small_file: Path, tmp_path: Path):
    other = small_file.rename(tmp_path / "other.yaml")

    with pytest.raises(HarnessError) as error:
        load(other)

    assert error.value.message == f"{other}:2:1: name: 'small' is not the file's name 'other'"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("head: {dim", "head: {dimm", "head.dimm: unknown key", id="typo"),
        pytest.param(
            "open: [loss,",
            "open: [los,",
            "open: 'los' names no field (did you mean 'loss'?)",
            id="open",
        ),
        pytest.param("open: [loss,", "open: [name,", "open: 'name' belongs to", id="open-name"),
        pytest.param(
            "training.epochs]", "training.optimizer.momentum]", "names no field", id="open-deep"
        ),
        pytest.param("folds: 4", "folds: 1", "scheme 'mlrc' needs folds", id="folds"),
        pytest.param(
            "{scheme: mlrc, folds: 4}",
            "{scheme: half_classes}",
            "best_val needs a validation",
            id="selection",
        ),
        pytest.param("recall_at_1]", "map_at_r]", "metrics name 'map_at_r' twice", id="metrics"),
        pytest.param("1e-2", "on", "on is read differently", id="ambiguous"),
        pytest.param("SGD", "SDG", "unknown optimizer 'SDG'", id="optimizer"),
        pytest.param("[0, 1]", "[0, -1]", "seeds.1: -1 is less than 0", id="seed"),
        pytest.param("[0, 1]", "[]", "seeds: ", id="no-seeds"),
    ],
)
def test_a_wrong_protocol_is_refused(small_file: Path, old: str, new: str, message: str):
    text = small_file.read_text()
    assert text.count(old) == 1
    small_file.write_text(text.replace(old, new))

    with pytest.raises(HarnessError) as error:
        load(small_file)

    assert message in error.value.message
    assert error.value.message.startswith(f"{small_file}:")


# --- values and differences ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("loss", True),
        ("loss.tau", True),
        ("loss.params.tau", True),
        ("miner.name", True),
        ("training.epochs", True),
        ("training", False),
        ("training.epoch", False),
        ("training.epochs_more", False),
        ("sampler.m", False),
    ],
)
def test_an_open_path_opens_everything_below_it(small: Protocol, path: str, expected: object):
    assert is_open(small, path) is expected


def test_a_single_parameter_may_be_open(small: Protocol):
    protocol = with_values(small, {"open": ["sampler.m", "backbone.weights"]})

    answers = [is_open(protocol, p) for p in ("sampler.params.m", "sampler", "backbone.weights")]

    assert answers == [True, False, True]


@pytest.mark.parametrize(
    "path_and_value",
    [
        ("training.epochs", 3),
        ("training.optimizer.lr", 0.5),
        ("training.clip.norm", 1.0),
        ("training.schedule", None),
        ("transforms.train.0.size", 64),
        ("sampler.m", 8),
        ("backbone.weights", "imagenet"),
        ("evaluation.metrics", ["map_at_r"]),
    ],
    ids=lambda pair: pair[0],
)
def test_a_value_can_be_replaced_at_a_path(small: Protocol, path_and_value: tuple[str, Any]):
    path, value = path_and_value

    other = with_values(small, {path: value})

    assert value_at(other, path) == value
    assert value_at(small, path) != value


def test_a_parent_is_set_before_what_lies_below_it(small: Protocol):
    values = {"training.optimizer.lr": 3, "training.optimizer": {"name": "Adam", "lr": 1}}

    assert value_at(with_values(small, values), "training.optimizer.lr") == 3


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("training.epoch", 3, "training.epoch: unknown key (did you mean 'epochs'?)"),
        ("training.epochs", -3, "training.epochs: -3 is less than 0"),
        ("transforms.train.7.size", 3, "no item '7' in a list of 2"),
        ("training.epochs.x", 3, "training.epochs: must be an integer, is a mapping"),
    ],
)
def test_a_wrong_value_is_refused(small: Protocol, path: str, value: object, message: str):
    with pytest.raises(HarnessError) as error:
        with_values(small, {path: value})

    assert error.value.message == message


def test_a_difference_names_the_field_and_both_values(small: Protocol):
    other = with_values(
        small, {"head.dim": 8, "training.schedule": None, "transforms.train.0.size": 64}
    )

    assert set(diff(small, other)) == {
        Difference("head.dim", 16, 8),
        Difference("training.schedule.every", 5, None),
        Difference("training.schedule.gamma", 0.5, None),
        Difference("transforms.train.0.size", 32, 64),
    }
    assert diff(small, small) == ()


def test_the_written_form_is_plain_yaml(small: Protocol):
    assert dump(small) == dump_yaml(small.model_dump(mode="json"))
