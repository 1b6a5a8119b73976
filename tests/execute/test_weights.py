"""Weight files are found, or fetched where that is allowed, before anything is trained."""

from __future__ import annotations

import hashlib
import http.server
import threading
from dataclasses import replace
from functools import partial

import pyarrow.parquet as pq
import pytest
import torch

import harness
from harness.errors import MissingDataError
from harness.execute import Downloading, RunStarted
from harness.kit.initial_weights import load_initial_weights
from harness.specs import WeightFile


@pytest.fixture
def served(tmp_path):
    """Serve a state dict of conv4 on this machine and describe it."""
    folder = tmp_path / "server"
    folder.mkdir()
    torch.manual_seed(7)
    torch.save(harness.build("backbone", "conv4").state_dict(), folder / "conv4.pth")
    digest = hashlib.sha256((folder / "conv4.pth").read_bytes()).hexdigest()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield WeightFile(url=f"http://127.0.0.1:{server.server_port}/conv4.pth", sha256=digest)
    server.shutdown()


def with_weights(runs, file):
    """Return the plan as if the card of its backbone published these weights."""

    def build(_, context):
        backbone = harness.build("backbone", "conv4")
        load_initial_weights(backbone, {"imagenet": file}, context)
        return backbone

    run = runs[0]
    card = replace(run.backbone.card, weights={"imagenet": file}, build=build)
    chosen = run.protocol.backbone.model_copy(update={"weights": "imagenet"})
    protocol = run.protocol.model_copy(update={"backbone": chosen})
    return (replace(run, protocol=protocol, backbone=replace(run.backbone, card=card)),)


def test_missing_weights_end_the_plan_before_it_starts(
    toy, plan, execute, store, served, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    runs = with_weights(plan(toy()), served)

    with pytest.raises(MissingDataError) as error:
        execute(runs, weights_folder=tmp_path / "weights")

    assert "conv4.pth" in error.value.message
    assert "--download" in error.value.hint
    assert list(store.root.glob("runs/*/*")) == []


def test_allowed_weights_are_fetched_with_progress_and_kept(
    toy, plan, execute, store, served, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    runs = with_weights(plan(toy(training__epochs=0)), served)
    events = []

    execute(runs, weights_folder=tmp_path / "weights", download=True, on_event=events.append)

    kinds = [type(event) for event in events]
    last = [event for event in events if isinstance(event, Downloading)][-1]
    kept = tmp_path / "weights" / "conv4.pth"
    assert kinds.index(Downloading) < kinds.index(RunStarted)
    assert last.received == last.total == kept.stat().st_size
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == served.sha256
    (row,) = pq.read_table(next(store.root.glob("runs/*/*.parquet"))).to_pylist()
    assert row["status"] == "ok"
