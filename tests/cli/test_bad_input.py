"""Everything a person can get wrong: one readable line, the right exit code, nothing written."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

HIST = ("--plugin", "hist")


class Case(NamedTuple):
    """A command line, what its error says, and how it ends.

    `words` may name `P`, the digits protocol after the replacement of `old` by `new`.
    """

    words: tuple[str, ...]
    says: str
    code: int = 2
    old: str = ""
    new: str = ""
    environ: Mapping[str, str] = {}
    files: Mapping[str, bytes] = {}


def edited(old: str, new: str, says: str) -> Case:
    return Case(("plan", "P", *HIST), says, old=old, new=new)


def planned(*words: str, says: str) -> Case:
    return Case(("plan", "P", *words), says)


def written(content: bytes, says: str) -> Case:
    return Case(("plan", "mine.yaml", *HIST), says, files={"mine.yaml": content})


CASES = {
    # the protocol file
    "misspelt section": edited(
        "head:", "haed:", "P:32:1: haed: unknown key (did you mean 'head'?)"
    ),
    "misspelt key": edited("dim: 64", "dimm: 64", "head.dimm: unknown key (did you mean 'dim'?)"),
    "text for a number": edited("dim: 64", "dim: sixty", "head.dim: must be a"),
    "number below its range": edited("dim: 64", "dim: 0", "head.dim: 0 is less than 1"),
    "negative budget": edited("epochs: 10", "epochs: -1", "training.epochs: -1 is less than 0"),
    "not a number": edited("lr: 1.0e-3", "lr: .nan", "lr: must be a finite number, is nan"),
    "unknown transform": edited(
        "step: random_affine", "step: rotate", "transforms.train.1: 'rotate' is not one of"
    ),
    "missing key": edited("  dim: 64\n", "", "head.dim: this key is required"),
    "unknown optimizer": edited("name: Adam", "name: Adamm", "unknown optimizer 'Adamm'"),
    "unknown scheme": edited("scheme: official", "scheme: offical", "did you mean 'official'"),
    "folds that do not exist": edited("folds: 0", "use_folds: 3", "use_folds 3 is more than"),
    "word with two readings": edited("name: conv4", "name: no", "no is read differently"),
    "key given twice": edited("head:\n", "head:\n  dim: 3\n", "key 'dim' was already given"),
    "anchor": edited("[loss, miner]", "&a [loss, miner]", "uses an anchor or alias"),
    "tab": edited("  dim: 64", "\tdim: 64", "a tab cannot indent YAML"),
    "unclosed bracket": edited("[loss, miner]", "[loss, miner", "not YAML: "),
    "open field that is none": edited(
        "[loss, miner]", "[los]", "open: 'los' names no field (did you mean 'loss'?)"
    ),
    "newer schema": edited("schema_version: 1", "schema_version: 2", "schema_version: 2 is not"),
    "name unlike the file": edited(
        "name: digits\nversion", "name: letters\nversion", "is not the file's name"
    ),
    "unknown data set": edited("dataset:\n  name: digits", "dataset:\n  name: digit", "'digits'"),
    "unknown sampler": edited("name: m_per_class", "name: m_per_clas", "'m_per_class'"),
    "unknown sampler option": edited("{m: 8}", "{mm: 8}", "sampler m_per_class: mm: unknown key"),
    "unknown metric": edited("[map_at_r,", "[map_at_rr,", "did you mean 'map_at_r'"),
    "metric out of range": edited(
        "recall_at_8", "recall_at_0", "metric recall_at_k: k: 0 is less"
    ),
    "unknown weights": edited(
        "weights: none", "weights: imagenet", "conv4 has no weights 'imagenet'"
    ),
    "empty file": written(b"", "mine.yaml:1:1: is empty"),
    "list instead of keys": written(b"- a\n", "mine.yaml:1:1: must be a mapping, is a list of 1"),
    "not utf-8": written(b"name: \xff\n", "mine.yaml:1:7: byte 0xff is not UTF-8"),
    "binary file": written(b"\x00\x01", "mine.yaml:1:1: holds a character that YAML does not"),
    "missing file": Case(("plan", "nowhere.yaml"), "nowhere.yaml: no such"),
    "near file name": Case(("plan", "digit"), "did you mean 'digits'"),
    "folder": Case(("plan", "."), ".: is a folder"),
    # what is chosen
    "no loss": planned(says="no loss: protocol digits leaves it open and none is named"),
    "unknown plugin": planned("--plugin", "hits", says="unknown component 'hits'"),
    "name of two kinds": planned("--plugin", "multi_similarity", says="is ambiguous: "),
    "unknown owner": planned("--plugin", "acme:hist", says="unknown component 'acme:hist'"),
    "two losses": planned(*HIST, "--plugin", "contrastive", says="two components of kind loss"),
    "kind that is fixed": planned(
        *HIST, "--plugin", "resnet18", says="fixes its backbone (conv4)"
    ),
    "unknown recipe": planned("--recipe", "cub", says="unknown recipe 'cub'"),
    "unknown parameter": planned(
        *HIST, "--set", "loss.tua=2", says="loss hist: tua: unknown key (did you mean 'tau'?)"
    ),
    "parameter out of range": planned(*HIST, "--set", "loss.tau=-1", says="loss hist: tau: -1"),
    "parameter of a wrong type": planned(*HIST, "--set", "loss.tau=big", says="tau: must be a"),
    "setting without a value": planned(
        *HIST, "--set", "loss.tau", says="'loss.tau' is not PATH=VALUE"
    ),
    "setting of nothing": planned(*HIST, "--set", "tau=2", says="'tau' names no field"),
    "closed field": planned(*HIST, "--set", "training.epochs=3", says="--deviate"),
    "setting given twice": planned(
        *HIST, "--set", "loss.tau=2", "--set", "loss.tau=3", says="loss.tau is given twice"
    ),
    "deviation out of range": planned(*HIST, "--deviate", "training.epochs=-3", says="-3 is less"),
    "fold that does not exist": planned(*HIST, "--folds", "4", says="fold 4: protocol digits has"),
    "backward range": planned(*HIST, "--seeds", "3-1", says="'3-1' counts down"),
    "seed given twice": planned(*HIST, "--seeds", "0,0", says="names a number twice"),
    "words for seeds": planned(*HIST, "--seeds", "few", says="'few' is not like 0-9 or 0,2"),
    # the command line
    "misspelt command": Case(("rnu",), "no such command 'rnu'; did you mean 'run'?"),
    "misspelt option": Case(("run", "P", "--plugn", "x"), "no such option '--plugn'"),
    "misspelt sub-command": Case(("protocol", "vlidate"), "no such command 'vlidate'"),
    "missing argument": Case(("run",), "missing argument 'PROTOCOL'"),
    "unknown choice": Case(("run", "P", "--existing", "some"), "'some' is not one of"),
    "option without a value": Case(("run", "P", "--plugin"), "option '--plugin' requires"),
    "word for a count": Case(("run", "P", "--workers", "two"), "--workers: workers must be"),
    "unknown device": Case(
        ("run", "P", *HIST, "--device", "gpu"), "--device: device must be auto"
    ),
    "unknown kind": Case(("show", "backbne"), "unknown kind 'backbne'"),
    "unknown component": Case(("show", "backbone", "conv5"), "unknown backbone 'conv5'"),
    # the machine's settings
    "wrong variable": Case(("plugins",), "HARNESS_WORKERS: ", environ={"HARNESS_WORKERS": "x"}),
    "unknown setting": Case(("plugins",), "unknown key 'stor'", files={"harness.toml": b"stor=1"}),
    "settings not toml": Case(("plugins",), "harness.toml: ", files={"harness.toml": b"store"}),
    "plugin not installed": Case(("plugins",), "'nope'", environ={"HARNESS_LOAD_PLUGINS": "nope"}),
    "download while offline": Case(
        ("run", "P", *HIST, "--download"), "offline", environ={"HARNESS_OFFLINE": "1"}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input_is_one_readable_message(harness, tmp_path: Path, monkeypatch, case: Case):
    for name, value in case.environ.items():
        monkeypatch.setenv(name, value)
    for name, content in case.files.items():
        (tmp_path / name).write_bytes(content)
    original = (tmp_path / "protocols/digits.yaml").read_text()
    assert case.old in original
    (tmp_path / "digits.yaml").write_text(original.replace(case.old, case.new, 1))
    before = sorted(tmp_path.rglob("*"))

    ended = harness(*("digits.yaml" if word == "P" else word for word in case.words))

    assert ended.code == case.code
    assert ended.out == ""
    assert ended.err.startswith("error: ")
    assert case.says.replace("P:", "digits.yaml:") in ended.err
    assert "Traceback" not in ended.err
    assert sorted(tmp_path.rglob("*")) == before
