"""A training small enough to run in milliseconds, with everything that has a state."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional

from harness import protocol
from harness.contracts import LossParts, ParamGroup
from harness.training.encoder import build_encoder
from harness.training.learner import make_learner

CLASSES, DIM = 4, 3


class NoisyProxies(nn.Module):
    """Cross-entropy over proxies, with noise from a generator and a buffer that feeds back."""

    def __init__(self, generator=None):
        super().__init__()
        self.proxies = nn.Parameter(torch.linspace(-1, 1, CLASSES * DIM).view(CLASSES, DIM))
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("average", torch.zeros(DIM))
        self.generator = generator

    def forward(self, batch, progress):
        if self.training:
            self.average.lerp_(batch.embeddings.detach().mean(0), 0.1)
        noise = torch.rand(batch.embeddings.shape, generator=self.generator)
        embeddings = batch.embeddings - self.average + 0.01 * noise
        return functional.cross_entropy(self.scale * embeddings @ self.proxies.T, batch.labels)


@pytest.fixture
def make_training():
    def make(**changes):
        values = {
            "batch_size": 8,
            "epochs": 3,
            "iterations_per_epoch": 4,
            "optimizer": {"name": "SGD", "lr": 0.1, "options": {"momentum": 0.9}},
        }
        return protocol.Training(**(values | changes))

    return make


@pytest.fixture
def make_encoder():
    def make(head=None):
        torch.manual_seed(5)
        backbone = nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Conv2d(6, 6, 3)
        )
        return build_encoder(
            backbone,
            num_features=6,
            head=protocol.Head(dim=DIM),
            custom_head=head,
            generator=torch.Generator().manual_seed(1),
        )

    return make


@pytest.fixture
def make_toy(make_encoder, make_training):
    """Return a function that builds a fresh learner, the same one each time."""

    def make(*, objective=None, miner=None, groups=(), **training):
        generator = torch.Generator().manual_seed(2)
        objective = objective or NoisyProxies(generator)
        named = tuple(
            ParamGroup(name, [getattr(objective, name)], **values) for name, values in groups
        )
        return make_learner(
            make_encoder(),
            LossParts(objective, param_groups=named),
            miner=miner,
            training=make_training(**training),
            device=torch.device("cpu"),
            generators=(generator,),
        )

    return make


@pytest.fixture
def toy_batches():
    """Return batches by epoch, as loaders do."""

    def batches(epoch, num_steps=4):
        generator = torch.Generator().manual_seed(100 + epoch)
        for _ in range(num_steps):
            labels = torch.arange(8) % CLASSES
            images = torch.randn(8, 1, 7, 7, generator=generator) + labels.view(-1, 1, 1, 1)
            yield SimpleNamespace(images=images, labels=labels, sample_index=torch.arange(8))

    return batches


@pytest.fixture
def state_of():
    """Return a function that collects every tensor training changes, cloned."""

    def collect(learner):
        modules = {"encoder": learner.encoder, "objective": learner.objective}
        return {
            f"{name}.{key}": value.clone()
            for name, module in modules.items()
            for key, value in module.state_dict().items()
        }

    return collect
