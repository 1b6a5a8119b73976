import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.components import MPerClassParams, harness_samplers
from harness.contracts import Sampler, SamplerContext
from harness.errors import HarnessError
from harness.seeding import derive_seed
from harness.specs import NoParams
from harness.training import samplers

CARDS = {card.name: card for card in harness_samplers()}
SETTINGS = settings(max_examples=40, deadline=None)

labels_of_classes = st.lists(st.integers(1, 9), min_size=4, max_size=9).map(
    lambda counts: np.random.default_rng(len(counts)).permutation(
        np.repeat(np.arange(len(counts)), counts)
    )
)
seeds = st.integers(0, 2**32)


def build(name, context, **params):
    return CARDS[name].build(CARDS[name].params(**params), context)


def epochs(sampler, numbers):
    return [batch for number in numbers for batch in sampler.batches(number)]


def every_sampler(context):
    yield build("random", context)
    yield build("m_per_class", context, m=2)
    yield build("m_per_class", context, m=2, streaming=True)


# --- what holds for each ------------------------------------------------------------------------


@given(labels_of_classes, seeds, st.none() | st.integers(1, 7))
@SETTINGS
def test_an_epoch_is_a_function_of_seed_and_epoch(labels, seed, iterations):
    context = SamplerContext(labels, 4, iterations, seed)

    for sampler, twin in zip(every_sampler(context), every_sampler(context), strict=True):
        assert isinstance(sampler, Sampler)
        in_order = [list(sampler.batches(number)) for number in range(4)]
        assert list(twin.batches(3)) == in_order[3]
        assert list(twin.batches(0)) == in_order[0]


@given(labels_of_classes, seeds, st.none() | st.integers(1, 7))
@SETTINGS
def test_batches_are_full_and_as_many_as_asked(labels, seed, iterations):
    context = SamplerContext(labels, 4, iterations, seed)

    for sampler in every_sampler(context):
        batches = list(sampler.batches(1))
        assert len(batches) == (iterations or len(labels) // 4)
        assert {len(batch) for batch in batches} == {4}
        assert {type(row) for batch in batches for row in batch} == {int}
        assert all(0 <= row < len(labels) for batch in batches for row in batch)


def test_seeds_and_epochs_give_different_batches():
    labels = np.repeat(np.arange(10), 20)

    for one, other in zip(
        every_sampler(SamplerContext(labels, 20, 5, 1)),
        every_sampler(SamplerContext(labels, 20, 5, 2)),
        strict=True,
    ):
        assert list(one.batches(0)) != list(other.batches(0))
        assert list(one.batches(0)) != list(one.batches(1))


# --- random -------------------------------------------------------------------------------------


@given(st.integers(5, 60), st.integers(2, 5), seeds)
@SETTINGS
def test_one_shuffle_visits_rows_at_most_once_and_leaves_out_less_than_a_batch(
    num_rows, batch_size, seed
):
    sampler = build("random", SamplerContext(np.zeros(num_rows, np.int64), batch_size, None, seed))

    rows = [row for batch in sampler.batches(0) for row in batch]

    assert len(set(rows)) == len(rows) == num_rows - num_rows % batch_size


@given(st.integers(5, 40), st.integers(1, 20), seeds)
@SETTINGS
def test_short_epochs_continue_through_the_shuffles_of_full_ones(num_rows, iterations, seed):
    labels = np.zeros(num_rows, np.int64)
    full = epochs(build("random", SamplerContext(labels, 3, None, seed)), range(iterations * 3))
    short = epochs(build("random", SamplerContext(labels, 3, iterations, seed)), range(3))

    assert short == full[: iterations * 3]


# --- m_per_class --------------------------------------------------------------------------------


@given(labels_of_classes, st.sampled_from([1, 2, 4]), seeds)
@SETTINGS
def test_a_batch_holds_exactly_m_of_each_of_its_classes(labels, m, seed):
    sampler = build("m_per_class", SamplerContext(labels, 4, 10, seed), m=m)

    for batch in sampler.batches(0):
        classes, counts = np.unique(labels[batch], return_counts=True)
        assert len(classes) == 4 // m
        assert set(counts) == {m}


@given(labels_of_classes, st.booleans(), seeds)
@SETTINGS
def test_a_row_repeats_in_a_batch_only_if_its_class_is_too_small(labels, streaming, seed):
    context = SamplerContext(labels, 4, 10, seed)
    sampler = build("m_per_class", context, m=4, streaming=streaming)

    for batch in sampler.batches(0):
        (label,) = set(labels[batch])
        if np.sum(labels == label) >= 4:
            assert len(set(batch)) == 4


@pytest.mark.parametrize("streaming", [False, True])
def test_replacement_draws_rows_twice_even_from_large_classes(streaming):
    labels = np.repeat(np.arange(2), 5)
    context = SamplerContext(labels, 4, 200, 0)
    sampler = build("m_per_class", context, m=4, streaming=streaming, replacement=True)

    distinct = {len(set(batch)) for batch in sampler.batches(0)}

    assert distinct >= {2, 3, 4}


@pytest.mark.parametrize("streaming", [False, True])
def test_classes_and_rows_are_drawn_evenly(streaming):
    labels = np.repeat(np.arange(6), [4, 5, 6, 7, 8, 9])
    context = SamplerContext(labels, 8, 6000, 0)
    sampler = build("m_per_class", context, m=4, streaming=streaming)

    rows = np.concatenate(list(sampler.batches(0)))

    share = np.bincount(rows, minlength=len(labels)) * np.bincount(labels)[labels] * 6 / len(rows)
    assert np.abs(share - 1).max() < 0.1


# --- the stream of arXiv:2003.08505 -------------------------------------------------------------


def literal_batches(labels, *, m, batch_size, seed, num_lists):
    """Loop as the published sampler and a loader with drop_last do, with our draws."""
    classes = np.unique(labels)
    batches, number = [], 0
    for _ in range(num_lists):
        list_size = samplers.LIST_LENGTH
        single_pass = m * len(classes)
        if single_pass < list_size:
            list_size -= list_size % single_pass
        num_passes = list_size // single_pass if single_pass < list_size else 1
        rows = []
        for _ in range(num_passes):
            random = np.random.default_rng(derive_seed(seed, "batches", number))
            number += 1
            keys = random.random(len(labels))
            counts = np.array([[np.sum(labels == label)] for label in classes])
            repeated = random.integers(counts, size=(len(classes), m))
            for position in random.permutation(len(classes)):
                mine = np.flatnonzero(labels == classes[position])
                mine = mine[np.argsort(keys[mine])]
                few = len(mine) < m
                rows += [mine[repeated[position, i] if few else i] for i in range(m)]
        batches += [
            [int(row) for row in rows[start : start + batch_size]]
            for start in range(0, len(rows) - batch_size + 1, batch_size)
        ]
    return batches


@pytest.mark.parametrize(
    ("num_classes", "list_length", "batch_size"),
    [
        pytest.param(5, 100, 8, id="list-of-five-passes"),
        pytest.param(7, 100, 8, id="passes-do-not-fill-the-list"),
        pytest.param(30, 100, 8, id="one-pass-longer-than-the-list"),
        pytest.param(25, 100, 8, id="one-pass-is-the-list"),
    ],
)
def test_the_stream_equals_the_published_list(monkeypatch, num_classes, list_length, batch_size):
    monkeypatch.setattr(samplers, "LIST_LENGTH", list_length)
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(num_classes), 5))
    labels = labels[3:]
    context = SamplerContext(labels, batch_size, 9, 3)
    sampler = build("m_per_class", context, m=4, streaming=True)

    ours = epochs(sampler, range(6))

    literal = literal_batches(labels, m=4, batch_size=batch_size, seed=3, num_lists=8)
    assert ours == literal[: 6 * 9]


def test_some_batches_of_cub_hold_a_class_twice_and_lists_drop_their_last_rows():
    labels = np.repeat(np.arange(75), 60)
    sampler = build("m_per_class", SamplerContext(labels, 32, 3121, 0), m=4, streaming=True)

    first_list = np.array(list(sampler.batches(0)))

    # 99,900 rows: 333 passes of 300; 3,121 batches of 32 leave 28 rows
    counts = [np.bincount(labels[batch]).max() for batch in first_list]
    assert set(counts) == {4, 8}
    a_pass = labels[first_list.ravel()[:300]]
    assert np.array_equal(np.bincount(a_pass), np.full(75, 4))


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "labels", "batch_size", "message", "hint"),
    [
        pytest.param("random", {}, [0, 1], 3, "2 training images", "at most 2", id="few-rows"),
        pytest.param(
            "m_per_class", {"m": 3}, [0, 0, 1, 1], 4, "exactly 3", "multiple of", id="not-divided"
        ),
        pytest.param(
            "m_per_class", {"m": 1}, [0, 0, 1, 1], 4, "needs 4 classes", "at most 2", id="classes"
        ),
        pytest.param(
            "m_per_class", {"m": 4}, [0, 0, 1], 4, "3 training images", "at most 3", id="no-batch"
        ),
        pytest.param(
            "m_per_class",
            {"m": 1, "streaming": True},
            [0, 0, 1, 1],
            4,
            "needs 4 classes",
            "at most 2",
            id="classes-streaming",
        ),
    ],
)
def test_impossible_batches_are_refused(name, params, labels, batch_size, message, hint):
    context = SamplerContext(np.array(labels, np.int64), batch_size)

    with pytest.raises(HarnessError, match=message) as caught:
        build(name, context, **params)

    assert hint in caught.value.hint


def test_cards_say_what_they_take():
    assert CARDS["random"].params is NoParams
    assert CARDS["m_per_class"].params is MPerClassParams
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        MPerClassParams(m=0)
