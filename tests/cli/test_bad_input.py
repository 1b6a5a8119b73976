"""Everything a person can get wrong: one readable line, the right exit code, nothing written."""

import subprocess
import sys
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
        "head:", "haed:", "P:34:1: haed: unknown key (did you mean 'head'?)"
    ),
    "misspelt key": edited("dim: 64", "dimm: 64", "head.dimm: unknown key (did you mean 'dim'?)"),
    "text for a number": edited("dim: 64", "dim: sixty", "head.dim: must be a"),
    "number below its range": edited("dim: 64", "dim: 0", "head.dim: 0 is less than 1"),
    "negative budget": edited("epochs: 5", "epochs: -1", "training.epochs: -1 is less than 0"),
    "not a number": edited("lr: 3.0e-4", "lr: .nan", "lr: must be a finite number, is nan"),
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
    "unknown weights": edited("weights: none", "weights: imagenet", "weights 'imagenet'"),
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
    "one method twice": planned(
        *HIST, "--plugin", "loss:hist", says="methods hist and loss:hist are the same run"
    ),
    "two miners": planned(
        *("--plugin", "contrastive", "--plugin", "pair_margin", "--plugin", "rdml_semihard"),
        says="two components of kind miner",
    ),
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
    "unknown backend": Case(("run", "P", *HIST, "--backend", "fais"), "did you mean 'faiss'?"),
    "memory without a unit": Case(
        ("run", "P", *HIST, "--memory", "4"), "--memory: memory must be a size of at least 1MiB"
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


def asked(sql: str, says: str) -> tuple[tuple[str, ...], str, int]:
    return ("query", sql), says, 2


ONLY_SELECT = "only one SELECT is possible here"
RUN = ("run", "protocols/digits.yaml", *HIST)

CASES_WITH_A_STORE = {
    # questions
    "statement that writes": asked("INSERT INTO runs VALUES (1)", ONLY_SELECT),
    "statement that creates": asked("CREATE TABLE mine (a INT)", ONLY_SELECT),
    "statement that writes a file": asked("COPY runs TO 'copy.csv'", ONLY_SELECT),
    "statement that attaches": asked("ATTACH 'other.db'", ONLY_SELECT),
    "statement that changes settings": asked("SET threads = 1", ONLY_SELECT),
    "two statements": asked("SELECT 1; SELECT 2", "found 2 statements"),
    "no statement": asked("", "found 0 statements"),
    "file through a function": asked("SELECT * FROM read_csv('x.csv')", "read_csv() is not avail"),
    "file through a name": asked("SELECT * FROM 'x.csv'", "x.csv"),
    "misspelt sql": asked("SELCT 1", "SQL: syntax error at or near"),
    "misspelt view": asked("SELECT * FROM leaderbord", "did you mean 'leaderboard'?"),
    "misspelt column": asked("SELECT methd FROM results", "did you mean 'method'?"),
    "unknown function": asked("SELECT getenv('HOME')", "getenv does not exist"),
    "no question": (("query",), "give one of: an SQL statement, -f FILE, --describe", 2),
    "two questions": (("query", "SELECT 1", "--describe"), "give one of", 2),
    "missing sql file": (("query", "-f", "none.sql"), "none.sql: No such file", 2),
    "unknown run": (("log", "zz"), "no run begins with 'zz'", 2),
    "unknown protocol": (("leaderboard", "digts"), "did you mean 'digits'?", 2),
    "unknown metric of rows": (
        ("leaderboard", "digits", "--metric", "map_at_rr"),
        "did you mean 'map_at_r'?",
        2,
    ),
    "unknown format": (("runs", "--format", "xml"), "'xml' is not one of", 2),
    "limit of none": (("runs", "--limit", "0"), "0 is not in the range", 2),
    # the store and the machine
    "no store": (("runs", "--store", "nowhere"), "no run store in nowhere", 4),
    "store is a file": ((*RUN, "--store", "afile"), "cannot write to afile", 4),
    "store below a file": ((*RUN, "--store", "afile/runs"), "cannot write to afile/runs", 4),
    "newer store": (("runs", "--store", "newer"), "newer has store format 99", 4),
    "no description of a store": (("runs", "--store", "odd"), "is not a description of a st", 4),
    "missing data": (("run", "omniglot", *HIST), "data set 'omniglot' is not in", 2),
    "missing gpu": ((*RUN, "--device", "cuda:63"), "device 'cuda:63' asked for", 2),
}


@pytest.mark.parametrize(
    ("words", "says", "code"), CASES_WITH_A_STORE.values(), ids=CASES_WITH_A_STORE.keys()
)
def test_bad_input_beside_a_store_is_one_readable_message(rehearsed, words, says, code):
    folder = rehearsed.folder
    (folder / "afile").touch()
    for name, content in {"newer": '{"format": 99}', "odd": "?"}.items():
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "STORE.json").write_text(content)
    before = sorted(folder.rglob("*"))

    ended = rehearsed.harness(*words)

    assert ended.code == code
    assert ended.out == ""
    assert "error: " in ended.err
    assert says in ended.err
    assert "Traceback" not in ended.err
    assert sorted(folder.rglob("*")) == before


def test_a_full_disk_is_one_readable_message(tmp_path: Path):
    # no process of this shell may write a byte into a file: what a full disk does to one
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0));"
        "from harness.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    digits = Path(__file__).parents[2] / "protocols/digits.yaml"
    done = subprocess.run(
        [sys.executable, "-c", code, "run", str(digits), *HIST],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.startswith("error: cannot write to runs")
    assert len(done.stderr.splitlines()) <= 2
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
