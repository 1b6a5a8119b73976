"""Study files, and the work lists they come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.protocol import load as load_protocol
from harness.registry import discover
from harness.study import load, work_of
from harness.study.cells import methods_from, study_from
from harness.study.document import dump

ROOT = Path(__file__).parents[2]
STUDY = """\
schema_version: 1
name: small
summary: Two methods.
protocols: [digits]
methods:
  - {name: far, plugins: [hist], params: {loss.tau: 24}}
  - {name: near, plugins: [hist], params: {loss.tau: 8}}
seeds: 0-1,5
"""


@pytest.fixture(scope="module")
def registry():
    return discover()


@pytest.fixture
def digits():
    return load_protocol(ROOT / "protocols" / "digits.yaml")


def written(folder: Path, text: str) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def test_a_study_is_methods_by_seeds_and_the_methods_take_turns(tmp_path, registry, digits):
    cells = work_of(load(written(tmp_path, STUDY)), registry, [digits]).cells

    assert [(cell.run.seed, cell.method) for cell in cells] == [
        (0, "far"), (0, "near"), (1, "far"), (1, "near"), (5, "far"), (5, "near"),
    ]  # fmt: skip
    assert [cell.run.method for cell in cells[:2]] == ["hist[tau=24]", "hist[tau=8]"]
    assert len({cell.run.key for cell in cells}) == 6
    assert [cell.run.pair_key for cell in cells[::2]] == [
        cell.run.pair_key for cell in cells[1::2]
    ]


def test_a_work_list_is_the_same_each_time(tmp_path, registry, digits):
    path = written(tmp_path, STUDY)

    first, again = (work_of(load(path), registry, [digits]).cells for _ in range(2))

    assert [cell.run.key for cell in first] == [cell.run.key for cell in again]


def test_each_cell_plans_its_own_run_again(tmp_path, registry, digits):
    from harness.plan import make_plan

    for cell in work_of(load(written(tmp_path, STUDY)), registry, [digits]).cells:
        assert [run.key for run in make_plan(digits, registry, cell.request)] == [cell.run.key]


def test_a_study_reads_back_as_it_was_written(tmp_path):
    study = load(written(tmp_path, STUDY))

    assert load(written(tmp_path, dump(study))) == study


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_shards_partition_a_work_list(tmp_path, registry, digits, count):
    work = work_of(load(written(tmp_path, STUDY)), registry, [digits])

    shards = [work.shard(index=index, count=count).cells for index in range(count)]

    keys = [cell.run.key for shard in shards for cell in shard]
    assert sorted(keys) == sorted(cell.run.key for cell in work.cells)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("seeds: 0-1,5", "seeds: 5-1", r":8:1: seeds: .*is not like 0-9", id="range"),
        pytest.param("seeds:", "seed:", "unknown key .did you mean 'seeds'", id="key"),
        pytest.param("loss.tau: 8", "los.tau: 8", r"'los.tau' names no field", id="path"),
        pytest.param("name: near", "name: far", "method far is given twice", id="twice"),
        pytest.param("plugins: [hist], params: {loss.tau: 8}", "params: {loss.tau: 8}",
                     "names neither plugins nor a recipe", id="empty"),
    ],
)  # fmt: skip
def test_a_mistake_is_shown_with_its_line(tmp_path, old, new, message):
    with pytest.raises(HarnessError, match=message):
        load(written(tmp_path, STUDY.replace(old, new)))


def test_a_method_that_does_not_fit_is_named(tmp_path, registry, digits):
    study = load(written(tmp_path, STUDY.replace("tau: 8", "tau: -8")))

    with pytest.raises(HarnessError, match=r"method near: .*tau"):
        work_of(study, registry, [digits])


def test_two_methods_that_are_one_run_are_refused(tmp_path, registry, digits):
    study = load(written(tmp_path, STUDY.replace("tau: 8", "tau: 24")))

    with pytest.raises(HarnessError, match="methods far and near are the same run"):
        work_of(study, registry, [digits])


def test_a_bare_name_is_looked_for_among_the_studies(tmp_path, monkeypatch):
    (tmp_path / "studies").mkdir()
    written(tmp_path / "studies", STUDY)
    monkeypatch.chdir(tmp_path)

    assert load("small").name == "small"
    with pytest.raises(HarnessError, match="no such study file") as refused:
        load("smal")
    assert "small" in str(refused.value.hint)


def test_each_loss_of_a_command_line_begins_a_method(registry):
    words = ["sampler:random", "hist", "margin", "miner:distance_weighted"]

    assert methods_from(words, registry) == (
        ("sampler:random", "hist"),
        ("sampler:random", "margin", "miner:distance_weighted"),
    )


def test_a_command_line_is_a_study_too(registry, digits):
    from harness.plan import Request

    request = Request(
        plugins=("hist", "contrastive"), seeds=(0, 1), settings=("training.epochs=5",)
    )

    study = study_from("mine", "digits", request, registry)

    assert [method.name for method in study.methods] == ["hist", "contrastive"]
    assert study.methods[0].params == {"training.epochs": 5}


def test_every_study_that_ships_is_valid(registry):
    for path in sorted((ROOT / "studies").glob("*.yaml")):
        study = load(path)
        protocols = [
            load_protocol(ROOT / "protocols" / f"{name}.yaml") for name in study.protocols
        ]
        assert work_of(study, registry, protocols).num_cells
