import numpy as np
import pytest
import scipy.stats

from harness.report.pairs import paired_differences
from harness.report.ranks import adjusted
from harness.report.statistics import Cell
from harness.store.database import query
from harness.store.writer import Store, write_attempt
from harness.testing.rows import add_scores, score, toy_epoch, toy_run


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 10, 39, 100, 999])
def test_student_p_is_that_of_scipy(store: Store, degrees: int):
    ratios = [0.0, 1e-3, 0.3, 1.0, 2.5, -2.5, 12.0, 1e6]

    table = f"(SELECT unnest({ratios}::DOUBLE[]) AS t)"
    found = query(store, f"SELECT student_p(t, {degrees}) FROM {table}").rows

    expected = 2 * scipy.stats.t.sf(np.abs(ratios), degrees)
    assert [row[0] for row in found] == pytest.approx(expected, abs=1e-11)


@pytest.fixture
def study(store: Store) -> dict[str, list[Cell]]:
    """Four methods, five seeds, two folds; the last method lacks some runs."""
    generator = np.random.default_rng(0)
    cells: dict[str, list[Cell]] = {}
    luck = generator.normal(0.5, 0.05, (5, 2))
    for index, method in enumerate(("alpha", "beta", "gamma", "delta")):
        values = luck + generator.normal(0.03 * index, 0.01, (5, 2))
        cells[method] = [Cell(s, f, values[s, f]) for s in range(5) for f in range(2)]
        add_scores(store, method, values.tolist(), first=100 * index + 1)
    lone = [Cell(7, 0, 0.5), Cell(0, 1, 0.4)]
    for number, cell in enumerate(lone):
        run = toy_run(900 + number, method="omega", seed=cell.seed, fold=cell.fold)
        write_attempt(store, run, metrics=[score(cell.value)])
    return cells | {"omega": lone}


def test_sql_and_numpy_compare_methods_alike(store: Store, study: dict[str, list[Cell]]):
    expected = paired_differences(dict(sorted(study.items())))
    holm = adjusted(expected)

    found = query(
        store,
        "SELECT first_method, second_method, mean_difference, half_width, p_value, p_holm,"
        " num_pairs, num_cells FROM comparisons ORDER BY ALL",
    ).rows

    assert [(row[0], row[1]) for row in found] == sorted(expected)
    for first, second, mean, half, p_value, p_holm, *counts in found:
        pair = expected[str(first), str(second)]
        assert counts == [pair.num_pairs, pair.num_cells]
        assert mean == pytest.approx(pair.mean, abs=1e-9)
        width = pair.interval.high - pair.mean if pair.interval else None
        assert half == (width if width is None else pytest.approx(width, abs=1e-9))
        assert p_value == pytest.approx(pair.p_value, abs=1e-9)
        assert p_holm == pytest.approx(holm.get((str(first), str(second))), abs=1e-9)


def test_who_is_better_depends_on_the_direction_of_the_metric(store: Store):
    for number, (method, value) in enumerate((("alpha", 0.5), ("beta", 0.3))):
        for seed in range(3):
            rows = [
                score(value + 0.001 * seed * number),
                score(value + 0.001 * seed * number, name="error", higher_is_better=False),
            ]
            write_attempt(
                store, toy_run(10 * number + seed, method=method, seed=seed), metrics=rows
            )

    found = query(store, "SELECT metric, better FROM comparisons ORDER BY metric").rows

    assert found == (("error", "beta"), ("map_at_r", "alpha"))


@pytest.mark.parametrize(("gap", "p_value"), [(0.25, 0.0), (0.0, 1.0)], ids=["shift", "equal"])
def test_pairs_that_all_differ_by_the_same(store: Store, gap: float, p_value: float):
    values = [0.5, 0.25, 0.125]
    add_scores(store, "alpha", [[value + gap] for value in values], first=1)
    add_scores(store, "beta", [[value] for value in values], first=10)

    assert query(store, "SELECT p_value FROM comparisons").rows == ((p_value,),)


def test_other_data_is_never_compared(store: Store):
    add_scores(store, "alpha", [[0.5], [0.6]], first=1)
    for seed in range(2):
        run = toy_run(10 + seed, method="beta", seed=seed, data_digest="f" * 64)
        write_attempt(store, run, metrics=[score(0.5)])

    assert query(store, "SELECT * FROM comparisons").rows == ()


def test_equal_compute_takes_the_last_evaluation_within_the_cheapest_run(store: Store):
    """Epochs take 2 s; beta ends after 4 s, so alpha counts at epoch 2, though it went on."""
    for number, (method, epochs) in enumerate((("alpha", 4), ("beta", 2))):
        values = [score(0.1 * e + number, epoch=e, part="val") for e in range(1, epochs + 1)]
        curve = [toy_epoch(e, 1.0) for e in range(1, epochs + 1)]
        write_attempt(store, toy_run(number, method=method), metrics=values, epochs=curve)

    found = query(
        store,
        "SELECT method, mean, budget_seconds, used_seconds FROM equal_compute ORDER BY method",
    ).rows

    assert [row[0] for row in found] == ["alpha", "beta"]
    assert [row[1] for row in found] == pytest.approx([0.2, 1.2])
    assert {row[2:] for row in found} == {(4.0, 4.0)}


def test_equal_compute_keeps_machines_apart(store: Store):
    for number, device in enumerate(("fast", "slow")):
        write_attempt(
            store,
            toy_run(number, method=device, device_name=device),
            metrics=[score(0.5, epoch=e) for e in range(1, 3 - number)],
            epochs=[toy_epoch(e, 1.0) for e in range(1, 3 - number)],
        )

    found = query(store, "SELECT method, budget_seconds FROM equal_compute ORDER BY 1").rows

    assert found == (("fast", 4.0), ("slow", 2.0))
