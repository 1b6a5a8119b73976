"""Many processes write while others read: counts only grow, and nobody fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.store.database import query
from harness.store.writer import find_store, open_store

WRITER = """
import sys
from pathlib import Path
from harness.store.writer import open_store, write_attempt
from harness.testing.rows import score, toy_run
store = open_store(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    write_attempt(store, toy_run(number), metrics=[score(0.5)])
"""

READER = """
import sys
from pathlib import Path
from harness.store.database import query
from harness.store.writer import open_store
store = open_store(Path(sys.argv[1]))
seen = [0]
while seen[-1] < int(sys.argv[2]):
    sql = "SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM metrics)"
    ((runs, metrics),) = query(store, sql).rows
    assert runs == metrics >= seen[-1], (runs, metrics, seen[-1])
    seen.append(runs)
print(len(seen))
"""


def started(*arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("writers", "readers", "runs"),
    [
        pytest.param(2, 1, 60, id="few"),
        pytest.param(16, 4, 1008, id="many", marks=pytest.mark.slow),
    ],
)
def test_readers_see_counts_grow_while_processes_write(tmp_path: Path, writers, readers, runs):
    open_store(tmp_path)
    each = runs // writers

    reading = [started(READER, tmp_path, runs) for _ in range(readers)]
    writing = [started(WRITER, tmp_path, n * each, (n + 1) * each) for n in range(writers)]
    outputs = [process.communicate(timeout=900)[0] for process in (*writing, *reading)]

    codes = [process.returncode for process in (*writing, *reading)]
    assert codes == [0] * len(codes), outputs
    assert query(find_store(tmp_path), "SELECT count(*) FROM runs").rows == ((runs,),)
