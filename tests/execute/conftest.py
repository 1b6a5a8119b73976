"""A protocol small enough to train many times in a test: digits, 8 steps a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import protocol
from harness.execute import ExecutionOptions, Summary, run_all
from harness.plan import Request, Run, make_plan
from harness.registry import Registry, discover
from harness.store.writer import Store, open_store
from harness.testing.toys import toy_image

ROOT = Path(__file__).parents[2]
SMALL = {
    "name": "toy",
    "head.dim": 8,
    "transforms.train": [{"step": "resize", "size": 16}, {"step": "horizontal_flip"}],
    "transforms.eval": [{"step": "resize", "size": 16}],
    "training.epochs": 4,
    "training.iterations_per_epoch": 2,
    "training.batch_size": 20,
    "sampler.params.m": 4,
}


@pytest.fixture(scope="session")
def registry() -> Registry:
    return discover()


@pytest.fixture
def toy() -> Callable[..., protocol.Protocol]:
    """Return a maker of protocols: digits, made small, with values by dotted path."""
    digits = protocol.load(ROOT / "protocols" / "digits.yaml")

    def make(**values: object) -> protocol.Protocol:
        dotted = {key.replace("__", "."): value for key, value in values.items()}
        return protocol.with_values(digits, {**SMALL, **dotted})

    return make


@pytest.fixture
def plan(registry: Registry) -> Callable[..., tuple[Run, ...]]:
    def make(a_protocol: protocol.Protocol, *plugins: str, **request: object) -> tuple[Run, ...]:
        return make_plan(a_protocol, registry, Request(plugins=plugins or ("hist",), **request))

    return make


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of own images, whose training part is one batch of the toy protocol."""
    folder = tmp_path / "data" / "pictures"
    for label in range(10):
        place = folder / ("train" if label < 5 else "test") / f"class{label}"
        place.mkdir(parents=True)
        for number in range(4):
            toy_image(label, number, size=(20, 20)).save(place / f"{number}.png")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "runs")


@pytest.fixture
def execute(store: Store, tmp_path: Path) -> Callable[..., Summary]:
    def go(runs: tuple[Run, ...], *, on_event=lambda _: None, **options: object) -> Summary:
        settings = ExecutionOptions(data_root=tmp_path / "data", **{"device": "cpu", **options})
        return run_all(runs, store=store, options=settings, on_event=on_event)

    return go
