"""The two samplers: the promise of each batch, and how often things repeat."""

from itertools import pairwise

import numpy as np
import pytest
from harness_rdml.sampler_cards import SAMPLERS

from harness.api import HarnessError, Sampler, SamplerContext

CUB_CLASSES, CUB_IMAGES = 100, 5864
every_sampler = pytest.mark.parametrize("card", SAMPLERS, ids=lambda card: card.name)
CLASS_RANDOM = next(card for card in SAMPLERS if card.name == "rdml_class_random")
FULL_RANDOM = next(card for card in SAMPLERS if card.name == "rdml_full_random")


def context(
    classes: int = 10, rows: int = 200, *, batch_size: int = 12, seed: int = 0
) -> SamplerContext:
    return SamplerContext(np.arange(rows) % classes, batch_size=batch_size, seed=seed)


def sampler(card, data: SamplerContext, **params) -> Sampler:
    return card.build(card.params(**params), data)


@every_sampler
def test_an_epoch_is_a_function_of_seed_and_number(card):
    first, again = sampler(card, context()), sampler(card, context())
    other = sampler(card, context(seed=1))

    third = list(first.batches(3))

    assert third == list(again.batches(3))
    assert third != list(first.batches(4))
    assert third != list(other.batches(3))


@every_sampler
def test_an_epoch_has_as_many_full_batches_as_there_are_images_for(card):
    batches = list(sampler(card, context()).batches(0))

    assert len(batches) == 200 // 12
    assert all(len(batch) == 12 for batch in batches)
    assert all(0 <= row < 200 for batch in batches for row in batch)


@every_sampler
def test_the_protocol_can_ask_for_more_batches_than_the_images_fill(card):
    few = SamplerContext(np.zeros(3, np.int64), batch_size=4, iterations=5)

    assert len(list(sampler(card, few).batches(0))) == 5


@every_sampler
def test_a_batch_that_the_images_cannot_fill_is_refused(card):
    with pytest.raises(HarnessError, match="3 training images cannot fill") as caught:
        sampler(card, context(rows=3))

    assert "training.batch_size" in (caught.value.hint or "")


def test_rows_come_in_groups_of_one_class():
    data = context()

    for batch in sampler(CLASS_RANDOM, data, m=3).batches(0):
        labels = data.labels[batch].reshape(-1, 3)
        assert (labels == labels[:, :1]).all()


def test_m_must_divide_the_batch():
    with pytest.raises(HarnessError, match="exactly 5 images"):
        sampler(CLASS_RANDOM, context(), m=5)


def test_classes_repeat_as_often_as_in_the_published_runs():
    data = context(CUB_CLASSES, CUB_IMAGES, batch_size=112)

    batches = [b for epoch in range(5) for b in sampler(CLASS_RANDOM, data).batches(epoch)]

    distinct = [len(np.unique(data.labels[batch])) for batch in batches]
    expected = 100 * (1 - 0.99**56)  # 43.0
    assert abs(np.mean(distinct) - expected) <= 5 * np.std(distinct) / len(batches) ** 0.5


def test_every_class_is_drawn_alike_whatever_its_size():
    labels = np.array([0] * 2 + [1] * 98)
    data = SamplerContext(labels, batch_size=2, iterations=4000)

    rows = [batch[0] for batch in sampler(CLASS_RANDOM, data).batches(0)]

    assert abs(np.mean(labels[rows]) - 0.5) <= 5 * (0.25 / len(rows)) ** 0.5


def test_the_last_image_of_a_random_batch_has_a_partner():
    data = context(classes=50)

    batches = list(sampler(FULL_RANDOM, data).batches(0))

    assert all(data.labels[b[-1]] in data.labels[b[:-1]] for b in batches)
    assert any(len({*data.labels[b].tolist()}) > 8 for b in batches)
    assert all(one != two for one, two in pairwise(batches))
