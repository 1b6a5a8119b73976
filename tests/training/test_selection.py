import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.protocol import Selection
from harness.training import selection


def rule(**changes):
    return Selection(**({"rule": "best_val"} | changes))


@pytest.mark.parametrize(
    ("scores", "options", "expected"),
    [
        pytest.param([(1, 0.1), (2, 0.3), (3, 0.2)], {}, 2, id="highest"),
        pytest.param([(1, 0.1), (2, 0.3), (3, 0.2)], {"higher_is_better": False}, 1, id="lowest"),
        pytest.param([(2, 0.3), (4, 0.5), (6, 0.5)], {}, 4, id="earliest-of-equals"),
        pytest.param(
            [(2, 0.5), (4, 0.3), (6, 0.3)], {"higher_is_better": False}, 4, id="earliest-of-lowest"
        ),
        pytest.param([(0, 0.9), (1, 0.1)], {}, 1, id="untrained-is-no-candidate"),
        pytest.param([(0, 0.9), (1, 0.1)], {"untrained": True}, 0, id="untrained-is-one"),
        pytest.param([(0, 0.9)], {}, None, id="nothing-trained"),
        pytest.param([], {"untrained": True}, None, id="nothing"),
    ],
)
def test_the_best_epoch(scores, options, expected):
    assert selection.best(scores, **options) == expected


def epoch_it_stops_at(rule, values):
    """Evaluate as `due` says until `should_stop`, with a value per epoch."""
    scores = []
    for epoch in range(1001):
        if selection.due(epoch, rule, last_epoch=1000):
            scores.append((epoch, values(epoch)))
            if selection.should_stop(scores, rule):
                return epoch
    return None


@pytest.mark.parametrize(
    ("every", "patience", "stops_after"),
    [
        pytest.param(2, 9, 10, id="cub"),
        pytest.param(5, 14, 15, id="cars"),
        pytest.param(20, 39, 40, id="sop"),
        pytest.param(1, 0, 1, id="no-patience"),
    ],
)
@pytest.mark.parametrize("best_evaluation", [0, 1, 7])
def test_patience_ends_training_where_the_reality_check_does(
    every, patience, stops_after, best_evaluation
):
    best = best_evaluation * every

    stop = epoch_it_stops_at(
        rule(every=every, patience=patience),
        lambda epoch: min(epoch, best) - 0.01 * (epoch > best),
    )

    assert stop == best + stops_after


def test_an_untrained_encoder_counts_for_patience_though_it_cannot_be_selected():
    scores = [(0, 0.9), (2, 0.1), (4, 0.2), (6, 0.3)]

    assert selection.should_stop(scores, rule(every=2, patience=5))
    assert selection.best(scores) == 6


def test_equal_scores_do_not_renew_patience():
    assert selection.should_stop([(0, 0.1), (2, 0.5), (4, 0.5), (6, 0.5)], rule(patience=3))


def test_patience_follows_the_direction_of_the_metric():
    falling = [(0, 5.0), (1, 4.0), (2, 3.0), (3, 2.0)]

    assert selection.should_stop(falling, rule(patience=2))
    assert not selection.should_stop(falling, rule(patience=2), higher_is_better=False)


@pytest.mark.parametrize(
    "never", [rule(patience=None), rule(rule="last", patience=1)], ids=["none", "last"]
)
def test_training_goes_on_without_a_patience(never):
    assert not selection.should_stop([(0, 0.9), (50, 0.1)], never)


@pytest.mark.parametrize(
    ("every", "last_epoch", "expected"),
    [
        pytest.param(1, 3, [0, 1, 2, 3], id="each"),
        pytest.param(2, 5, [0, 2, 4, 5], id="second-and-last"),
        pytest.param(20, 7, [0, 7], id="only-ends"),
    ],
)
def test_evaluations_are_due_at_multiples_and_at_the_end(every, last_epoch, expected):
    epochs = range(-3, last_epoch + 1)

    due = [e for e in epochs if selection.due(e, rule(every=every), last_epoch=last_epoch)]

    assert due == expected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_the_best_epoch_has_the_best_score_and_no_earlier_one_has(values):
    scores = list(enumerate(values, start=1))

    best = selection.best(scores)

    assert values[best - 1] == max(values)
    assert max(values) not in values[: best - 1]
