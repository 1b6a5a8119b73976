"""From batches to embeddings."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from harness.errors import HarnessError
from harness.evaluation import Embeddings, embed, rank


class Encoded(NamedTuple):
    embeddings: torch.Tensor
    features: torch.Tensor


class Images(NamedTuple):
    images: torch.Tensor
    labels: torch.Tensor
    sample_index: torch.Tensor


class TinyEncoder(nn.Module):
    """One with batch normalisation and dropout, which behave differently in training."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 3)
        )

    def forward(self, images):
        found = self.body(images)
        return Encoded(found, images.flatten(1))


def batches_of(images, size):
    index = torch.arange(len(images))
    return [Images(images[i], i % 3, i + 100) for i in index.split(size)]


def encoder_and_images():
    torch.manual_seed(0)
    return TinyEncoder(), torch.randn(10, 1, 2, 2)


@pytest.mark.parametrize("size", [1, 3, 10])
def test_the_batch_size_changes_embeddings_by_rounding_only(size):
    encoder, images = encoder_and_images()
    whole = embed(encoder, batches_of(images, 10), device="cpu", normalize=True)

    found = embed(encoder, batches_of(images, size), device="cpu", normalize=True)

    torch.testing.assert_close(found.values, whole.values)
    assert torch.equal(found.labels, torch.arange(10) % 3)
    assert torch.equal(found.sample_ids, torch.arange(10) + 100)


def test_features_below_the_head_can_stand_for_embeddings():
    encoder, images = encoder_and_images()
    batches = batches_of(images, 4)

    found = embed(encoder, batches, device="cpu", normalize=False, layer="features")

    assert torch.equal(found.values, images.flatten(1))


def test_embeddings_have_length_one_only_when_asked():
    encoder, images = encoder_and_images()

    plain = embed(encoder, batches_of(images, 4), device="cpu", normalize=False)
    unit = embed(encoder, batches_of(images, 4), device="cpu", normalize=True)

    torch.testing.assert_close(unit.values.norm(dim=1), torch.ones(10))
    torch.testing.assert_close(nn.functional.normalize(plain.values), unit.values)
    assert not unit.values.requires_grad


def test_the_mode_of_every_module_comes_back():
    encoder, images = encoder_and_images()
    encoder.train()
    encoder.body[2].eval()  # frozen statistics
    before = [module.training for module in encoder.modules()]
    statistics = encoder.body[2].running_mean.clone()

    embed(encoder, batches_of(images, 5), device="cpu", normalize=True)

    assert [module.training for module in encoder.modules()] == before
    assert torch.equal(encoder.body[2].running_mean, statistics)


def test_a_diverged_encoder_is_an_error_that_counts_rows():
    encoder, images = encoder_and_images()
    images[3], images[7] = torch.nan, torch.inf

    with pytest.raises(HarnessError, match="2 of 10 embeddings contain NaN or infinity"):
        embed(encoder, batches_of(images, 5), device="cpu", normalize=True)


def test_an_empty_part_is_an_error():
    encoder, _ = encoder_and_images()

    with pytest.raises(HarnessError, match="the part is empty"):
        embed(encoder, [], device="cpu", normalize=True)


def test_embeddings_that_do_not_fit_together_are_refused():
    three = torch.arange(3)

    with pytest.raises(HarnessError, match=r"labels \(2\) do not fit embeddings \(3, 2\)"):
        Embeddings(torch.zeros(3, 2), three[:2], three)
    with pytest.raises(HarnessError, match="labels must be int64"):
        Embeddings(torch.zeros(3, 2), three.float(), three)
    with pytest.raises(HarnessError, match="same sample id"):
        Embeddings(torch.zeros(3, 2), three, three // 2)
    with pytest.raises(HarnessError, match="the set is empty"):
        Embeddings(torch.zeros(0, 2), three[:0], three[:0])


def test_what_embed_returns_can_be_ranked():
    encoder, images = encoder_and_images()
    found = embed(encoder, batches_of(images, 4), device="cpu", normalize=True)

    ranking = rank(found, neighbors=9)

    assert sorted(ranking.neighbor_ids[0].tolist()) == list(range(101, 110))
