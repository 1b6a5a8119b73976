import pytest

from harness.errors import HarnessError
from harness.report.leaderboard import Board, Leaderboard, Row, leaderboard
from harness.store.database import query
from harness.store.writer import Store, write_attempt
from harness.testing.rows import add_scores, score, toy_run


def only(found: Leaderboard) -> Board:
    (board,) = found.boards
    return board


def by_method(board: Board) -> dict[str, Row]:
    return {row.method: row for row in board.rows}


def test_the_better_mean_is_first(store: Store):
    add_scores(store, "alpha", [[0.2], [0.4]], first=1)
    add_scores(store, "beta", [[0.6], [0.8]], first=10)

    board = only(leaderboard(store))

    assert [(row.rank, row.method) for row in board.rows] == [(1, "beta"), (2, "alpha")]
    assert [row.mean for row in board.rows] == pytest.approx([0.7, 0.3])


def test_a_metric_may_be_better_when_smaller(store: Store):
    for number, (method, value) in enumerate((("alpha", 0.5), ("beta", 0.3))):
        write_attempt(
            store, toy_run(number, method=method), metrics=[score(value, higher_is_better=False)]
        )

    assert [row.method for row in only(leaderboard(store)).rows] == ["beta", "alpha"]


def test_the_interval_is_over_seeds_of_averaged_folds(store: Store):
    add_scores(store, "alpha", [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]], first=1)

    (row,) = only(leaderboard(store)).rows

    assert (row.num_seeds, row.num_folds, row.mean) == (3, 2, 1.5)
    assert row.interval is not None
    assert row.interval.high - 1.5 == pytest.approx(4.302652729911275 / 3**0.5, abs=1e-9)


def test_folds_of_one_seed_are_no_interval(store: Store):
    add_scores(store, "alpha", [[0.2, 0.4, 0.6]], first=1)

    (row,) = only(leaderboard(store)).rows

    assert (row.mean, row.interval) == (pytest.approx(0.4), None)


def test_it_agrees_with_the_view(store: Store):
    add_scores(store, "alpha", [[0.21, 0.43], [0.35, 0.71], [0.17, 0.4]], first=1)
    add_scores(store, "beta", [[0.31, 0.42], [0.3, 0.7]], first=10)

    view = query(store, "SELECT method, mean, mean - half_width FROM leaderboard").rows

    rows = by_method(only(leaderboard(store)))
    for method, mean, low in view:
        row = rows[str(method)]
        assert row.mean == pytest.approx(mean, abs=1e-12)
        assert row.interval is not None
        assert row.interval.low == pytest.approx(low, abs=1e-9)


@pytest.mark.parametrize("field", ["protocol_digest", "data_digest"])
def test_other_digests_are_other_boards_newest_first(store: Store, field: str):
    older, newer = "e" * 64, "f" * 64
    write_attempt(store, toy_run(1, **{field: older}), metrics=[score(0.9)])
    write_attempt(store, toy_run(2, **{field: newer}), metrics=[score(0.1)])

    boards = leaderboard(store).boards

    assert [getattr(board.group, field) for board in boards] == [newer, older]
    assert [[row.mean for row in board.rows] for board in boards] == [[0.1], [0.9]]


def test_one_run_with_two_copies_of_the_data_is_on_two_boards(store: Store):
    """As when two people merge their stores."""
    older, newer = "e" * 64, "f" * 64
    for attempt, (digest, value) in enumerate([(older, 0.9), (newer, 0.1), (older, 0.5)], start=1):
        run = toy_run(attempt, run_key="key", data_digest=digest)
        write_attempt(store, run, metrics=[score(value)])
    write_attempt(store, toy_run(4, run_key="key", status="failed", data_digest=None))

    boards = leaderboard(store).boards
    view = query(store, "SELECT data_digest, mean, num_seeds FROM leaderboard ORDER BY 1").rows

    found = {board.group.data_digest: [row.mean for row in board.rows] for board in boards}
    assert found == {older: [0.9], newer: [0.1]}  # of each copy, the first attempt
    assert [row.num_failed for board in boards for row in board.rows] == [0, 0]
    assert view == ((older, 0.9, 1), (newer, 0.1, 1))
    assert query(store, "SELECT attempt_id, recovered FROM failures").rows == (
        (toy_run(4).attempt_id, True),
    )


def test_failures_and_missing_runs_stand_beside_the_mean(store: Store):
    add_scores(store, "alpha", [[0.2, 0.4], [0.4, 0.6]], first=1)
    add_scores(store, "beta", [[0.6], [0.8]], first=10)
    write_attempt(
        store, toy_run(20, method="beta", seed=0, fold=1, status="failed", data_digest=None)
    )

    rows = by_method(only(leaderboard(store)))

    assert (rows["alpha"].num_failed, rows["alpha"].num_missing) == (0, 0)
    assert (rows["beta"].num_failed, rows["beta"].num_missing) == (1, 1)
    assert (rows["alpha"].complete, rows["beta"].complete) == (True, False)


def test_a_method_that_only_failed_is_last_and_has_no_score(store: Store):
    add_scores(store, "beta", [[0.1]], first=1)
    write_attempt(store, toy_run(5, status="failed", data_digest=None))

    board = only(leaderboard(store))

    assert [(row.rank, row.method, row.mean) for row in board.rows] == [
        (1, "beta", 0.1),
        (None, "alpha", None),
    ]


def test_a_failure_that_was_made_good_is_none(store: Store):
    write_attempt(store, toy_run(1, run_key="key", status="failed", data_digest=None))
    write_attempt(store, toy_run(2, run_key="key"), metrics=[score(0.5)])

    (row,) = only(leaderboard(store)).rows

    assert (row.mean, row.num_failed) == (0.5, 0)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"smoke": True}, "rehearsals (--smoke)", id="smoke"),
        pytest.param({"deviations": ("x=1",)}, "deviations from the protocol", id="deviates"),
        pytest.param({"leaderboard_eligible": False}, "not eligible", id="not-eligible"),
    ],
)
def test_what_is_not_comparable_is_left_out_and_counted(store: Store, changes, reason: str):
    write_attempt(store, toy_run(1), metrics=[score(0.5)])
    write_attempt(store, toy_run(2, **changes, seed=1), metrics=[score(0.9)])

    board = only(leaderboard(store))

    assert [row.mean for row in board.rows] == [0.5]
    assert board.excluded == {reason: 1}


def test_what_is_shown_on_request_never_mixes_with_honest_runs(store: Store):
    write_attempt(store, toy_run(1), metrics=[score(0.5)])
    write_attempt(store, toy_run(2, smoke=True), metrics=[score(0.9)])
    write_attempt(store, toy_run(3, deviations=("x=1",)), metrics=[score(0.7)])

    board = only(leaderboard(store, include_smoke=True, include_deviations=True))

    assert {row.method: row.mean for row in board.rows} == {
        "alpha": 0.5,
        "alpha [smoke]": 0.9,
        "alpha [deviates]": 0.7,
    }


def test_a_repeated_cell_counts_once_the_newest(store: Store):
    """Another version of a plugin has another run key and the same method, fold and seed."""
    write_attempt(store, toy_run(1), metrics=[score(0.2)])
    write_attempt(store, toy_run(2), metrics=[score(0.6)])

    board = only(leaderboard(store))

    assert [(row.mean, row.num_seeds) for row in board.rows] == [(0.6, 1)]
    assert board.excluded == {"replaced by a newer run of the same method, fold and seed": 1}


def test_values_of_an_older_definition_are_left_out(store: Store):
    write_attempt(store, toy_run(1, method="beta"), metrics=[score(0.9, version=1)])
    write_attempt(store, toy_run(2), metrics=[score(0.5, version=2)])

    board = only(leaderboard(store))

    assert [row.method for row in board.rows] == ["alpha"]
    assert board.excluded == {"older definition of the metric": 1}
    assert board.metric_version == 2


def test_untrained_and_oracle_stand_beside_the_honest_value(store: Store):
    values = [score(0.1, epoch=0, selected=False), score(0.4), score(0.6, epoch=2, selected=False)]
    write_attempt(store, toy_run(1), metrics=values)

    (row,) = only(leaderboard(store)).rows

    assert (row.untrained, row.mean, row.oracle) == (0.1, 0.4, 0.6)


def test_another_metric_can_rank(store: Store):
    write_attempt(store, toy_run(1), metrics=[score(0.5), score(0.9, name="recall_at_10")])

    board = only(leaderboard(store, metric="recall_at_10"))

    assert (board.group.metric, board.rows[0].mean) == ("recall_at_10", 0.9)


@pytest.mark.parametrize("protocol", ["toy", "a1b2", None], ids=["name", "digest", "any"])
def test_a_protocol_is_named_or_given_by_its_digest(store: Store, protocol: str | None):
    add_scores(store, "alpha", [[0.5]], first=1)

    assert only(leaderboard(store, protocol=protocol)).group.protocol == "toy"


@pytest.mark.parametrize(
    ("question", "message", "hint"),
    [
        pytest.param({"protocol": "toys"}, "no runs of protocol 'toys'", "'toy'", id="near"),
        pytest.param({"protocol": "cub"}, "no runs of protocol 'cub'", "runs of toy", id="far"),
        pytest.param(
            {"metric": "mapatr"}, "no run has metric 'mapatr'", "'map_at_r'", id="metric"
        ),
    ],
)
def test_what_is_not_there_is_named(store: Store, question, message: str, hint: str):
    add_scores(store, "alpha", [[0.5]], first=1)

    with pytest.raises(HarnessError, match=message) as caught:
        leaderboard(store, **question)

    assert hint in (caught.value.hint or "")


def test_an_empty_store_says_how_to_begin(store: Store):
    with pytest.raises(HarnessError, match="no runs in") as caught:
        leaderboard(store)

    assert "harness run" in (caught.value.hint or "")


def test_a_study_says_what_is_missing_and_what_is_left_out(store: Store):
    add_scores(store, "alpha", [[0.2], [0.4], [0.9]], first=1)
    add_scores(store, "beta", [[0.6]], first=10)
    add_scores(store, "stranger", [[0.7]], first=20)
    ((digest,),) = query(store, "SELECT DISTINCT protocol_digest FROM runs").rows
    two_seeds = frozenset({(0, 0), (1, 0)})
    planned = {str(digest): {"alpha": two_seeds, "beta": two_seeds, "never": two_seeds}}

    board = only(leaderboard(store, planned=planned))

    rows = by_method(board)
    assert list(rows) == ["beta", "alpha", "never"]
    assert rows["alpha"].mean == pytest.approx(0.3)
    assert rows["alpha"].complete
    assert (rows["beta"].num_ok, rows["beta"].num_missing, rows["beta"].complete) == (1, 1, False)
    assert (rows["never"].mean, rows["never"].rank, rows["never"].num_planned) == (None, None, 2)
    assert board.excluded == {"not of the study": 2}


def test_a_study_without_a_run_is_told_so(store: Store):
    add_scores(store, "alpha", [[0.2]], first=1)

    with pytest.raises(HarnessError, match="no run of this study"):
        leaderboard(store, planned={"other": {"alpha": frozenset({(0, 0)})}})
