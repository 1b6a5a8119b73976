import pytest

from harness.errors import HarnessError
from harness.report.runs import list_runs, run_log
from harness.store.writer import Store, write_attempt
from harness.testing.rows import score, toy_epoch, toy_run


@pytest.fixture
def filled(store: Store) -> Store:
    values = [score(0.2, epoch=0, selected=False), score(0.5, part="val"), score(0.4)]
    curve = [toy_epoch(1, 2.0), toy_epoch(2, 1.0)]
    write_attempt(store, toy_run(0x1A, run_key="aaa"), metrics=values, epochs=curve)
    failed = toy_run(0x2B, run_key="abb", status="failed", error_message="loss is nan")
    write_attempt(store, failed, epochs=curve[:1])
    write_attempt(store, toy_run(0x3C, run_key="abb", protocol="other"), metrics=[score(0.3)])
    return store


def test_attempts_are_listed_newest_first(filled: Store):
    found = list(list_runs(filled).records())

    shown = [(row["status"], row["metric"], row["value"], row["error_message"]) for row in found]
    assert shown == [
        ("ok", "map_at_r", 0.3, None),
        ("failed", "map_at_r", None, "loss is nan"),
        ("ok", "map_at_r", 0.4, None),
    ]


def test_a_listing_can_be_cut_and_narrowed(filled: Store):
    assert len(list_runs(filled, limit=1).rows) == 1
    assert len(list_runs(filled, protocol="toy").rows) == 2
    assert [row[5] for row in list_runs(filled, status="failed").rows] == ["failed"]
    assert list_runs(filled, status="interrupted").rows == ()


@pytest.mark.parametrize(("name", "hint"), [("tox", "'toy'"), ("it's", "runs of other, toy")])
def test_a_protocol_that_was_never_run_is_named(filled: Store, name: str, hint: str):
    with pytest.raises(HarnessError, match="no runs of protocol") as caught:
        list_runs(filled, protocol=name)

    assert hint in (caught.value.hint or "")


def test_a_log_has_facts_metrics_and_the_curve(filled: Store):
    found = run_log(filled, "aaa")

    (facts,) = found.facts.records()
    assert facts["attempt_id"] == f"{0x1A:032x}"
    assert [row[:4] for row in found.metrics.rows] == [
        ("test", 0, "map_at_r", 0.2),
        ("val", 1, "map_at_r", 0.5),
        ("test", 1, "map_at_r", 0.4),
    ]
    columns = ("epoch", "warmup", "steps", "images", "seconds", "loss", "lr backbone")
    assert found.epochs.columns == (*columns, "share data", "share forward")
    assert [row[0] for row in found.epochs.rows] == [1, 2]
    assert [row[5] for row in found.epochs.rows] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("prefix", "attempt"),
    [
        pytest.param("aa", 0x1A, id="run-key"),
        pytest.param("ab", 0x3C, id="last-attempt-at-a-run"),
        pytest.param(f"{0x2B:032x}", 0x2B, id="attempt"),
    ],
)
def test_a_run_is_found_by_the_beginning_of_its_name(filled: Store, prefix: str, attempt: int):
    (facts,) = run_log(filled, prefix).facts.records()

    assert facts["attempt_id"] == f"{attempt:032x}"


@pytest.mark.parametrize(
    ("prefix", "message", "hint"),
    [
        pytest.param("a", "2 runs begin with 'a'", f"{0x1A:032x}", id="ambiguous"),
        pytest.param("zz", "no run begins with 'zz'", "harness runs", id="unknown"),
        pytest.param("'; DROP VIEW runs", "no run begins with", "harness runs", id="quote"),
    ],
)
def test_a_name_that_is_not_one_run_is_refused(
    filled: Store, prefix: str, message: str, hint: str
):
    with pytest.raises(HarnessError, match=message) as caught:
        run_log(filled, prefix)

    assert hint in (caught.value.hint or "")


def test_a_run_without_a_curve_has_an_empty_one(filled: Store):
    found = run_log(filled, f"{0x3C:032x}")

    assert found.epochs.rows == ()
