"""A plugin that lives elsewhere runs under a protocol, from its own distribution."""

from __future__ import annotations

import json
import subprocess
import sys

import pyarrow.parquet as pq

from harness import protocol

ACME = {
    "sampler": {"name": "acme_blocks", "params": {"m": 4}},
    "backbone": {"name": "acme_patches", "weights": "none", "params": {"side": 8}},
    "training__epochs": 2,
}


def test_an_installed_third_party_runs_its_loss_miner_sampler_and_backbone(toy, install, tmp_path):
    install("acme")
    file = tmp_path / "toy.yaml"
    file.write_text(protocol.dump(toy(**ACME)))
    words = ["run", str(file), "--plugin", "acme_triplet", "--plugin", "acme_every"]

    done = subprocess.run(
        [sys.executable, "-m", "harness", *words, "--set", "loss.margin=0.3", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert all(json.loads(line)["schema_version"] for line in done.stdout.splitlines())
    (row,) = pq.read_table(next(tmp_path.glob("runs/runs/*/*.parquet"))).to_pylist()
    origins = {c["kind"]: (c["name"], c["distribution"]) for c in row["components"]}
    assert row["status"] == "ok"
    assert row["method"] == "acme_triplet+acme_every[loss.margin=0.3]"
    assert origins["loss"] == ("acme_triplet", "acme-dml")
    assert origins["miner"] == ("acme_every", "acme-dml")
    assert origins["sampler"] == ("acme_blocks", "acme-dml")
    assert origins["backbone"] == ("acme_patches", "acme-dml")
    assert origins["dataset"] == ("digits", "harness-datasets")
    assert json.loads(row["params"])["loss"] == {"margin": 0.3}
