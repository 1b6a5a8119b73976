import hashlib
import os
import signal
import threading
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.store.database import connect, query
from harness.store.writer import Store, open_store
from harness.testing.rows import add_scores

ATTACKS = [
    "COPY (SELECT 1) TO '{out}'",
    "COPY runs TO '{out}' (FORMAT parquet)",
    "COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)",
    "WITH x AS (COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)) SELECT 1",
    "SELECT * FROM (WITH x AS (COPY (SELECT 1) TO '{out}') SELECT 1)",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{own}' (USE_TMP_FILE false)",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '{out}'",
    "ATTACH '{out}' AS other",
    "DETACH memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('{own}')",
    "SELECT * FROM parquet_metadata('{own}')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT (SELECT max(content) FROM read_text('/etc/passwd'))",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM '{own}/../../../../etc/passwd'",
    "FROM 'https://example.org/x.parquet'",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('runs')",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL enable_logging()",
    "CALL enable_logging(storage='file', storage_path='{out}')",
    "SELECT * FROM enable_logging()",
    "CREATE TABLE t (a INT)",
    "CREATE TABLE t AS SELECT 1",
    "CREATE SECRET s (TYPE s3)",
    "CREATE MACRO f() AS 1",
    "INSERT INTO runs VALUES (1)",
    "UPDATE runs SET seed = 1",
    "DELETE FROM runs",
    "WITH x AS (DELETE FROM runs RETURNING *) SELECT * FROM x",
    "DROP VIEW runs",
    "ALTER VIEW runs RENAME TO x",
    "SET threads = 1",
    "SET enable_external_access = true",
    "SET VARIABLE runs_files = ['/etc/passwd']",
    "RESET allowed_paths",
    "USE memory",
    "BEGIN",
    "CHECKPOINT",
    "VACUUM",
    "PREPARE p AS SELECT 1",
    "SELECT getenv('HOME')",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{out}'",
    "SELECT 1 INTO OUTFILE '{out}'",
    "",
    "-- nothing",
]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One store for all: that it stays as it is, is what is tested."""
    store = open_store(tmp_path_factory.mktemp("store") / "runs")
    add_scores(store, "alpha", [[0.25], [0.75]], first=1)
    return store


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in root.rglob("*")
    }


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_but_a_select_over_the_views_gets_through(
    filled: Store, tmp_path: Path, attack: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    own = filled.root / "runs" / "toy-a1b2c3d4" / f"{1:032x}.parquet"
    before = fingerprint(filled.root)

    with pytest.raises(HarnessError) as caught:
        query(filled, attack.format(out=tmp_path / "out", own=own))

    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    assert fingerprint(filled.root) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "attack",
    [
        "COPY (SELECT 1) TO '{out}'",
        "ATTACH '{out}' AS other",
        "SELECT * FROM read_text('/etc/passwd')",
        "FROM '/etc/passwd'",
        "SET enable_external_access = true",
        "SET allowed_paths = ['/etc/passwd']",
    ],
)
def test_the_database_itself_is_locked_as_well(filled: Store, tmp_path: Path, attack: str):
    with connect(filled) as database, pytest.raises(Exception, match=r"Error"):
        database.execute(attack.format(out=tmp_path / "out"))

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "FROM runs",
        "TABLE runs",
        "VALUES (1)",
        "SHOW TABLES",
        "DESCRIBE results",
        "SUMMARIZE metrics",
        "WITH x AS (SELECT * FROM runs) SELECT * FROM x",
        "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 3) FROM r",
        "SELECT * FROM runs UNION ALL BY NAME SELECT * FROM runs",
        "PIVOT metrics ON name IN ('map_at_r') USING avg(value)",
        "SELECT unnest(components) FROM runs",
        "SELECT params->>'$.loss.tau' FROM runs",
        "SELECT * FROM range(3), json_each('[1, 2]')",
        "SELECT a.value - b.value FROM metrics a JOIN metrics b USING (name)",
        "SELECT method, seed FROM runs QUALIFY row_number() OVER (ORDER BY seed) = 1;",
        "SELECT seed FROM runs ORDER BY seed LIMIT 1 -- the first",
    ],
)
def test_an_analyst_can_ask_whatever_selects(filled: Store, sql: str):
    assert query(filled, sql).rows


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("SELECT * FROM resluts", "no view 'resluts'", "did you mean 'results'"),
        ("SELECT * FROM nothing_like_it", "no view 'nothing_like_it'", "the views are runs"),
        ("SELECT mapatr FROM results", "no column 'mapatr'", "'map_at_r'"),
        ("SELECT * FROM runs WHERE sead = 1", "no column 'sead'", "'seed'"),
        ("SELEC 1", "syntax error at or near", ""),
        ("SELECT 1 +", "syntax error", ""),
        ("SELECT 'a'::INT", "Could not convert string 'a' to INT32", ""),
        ("SELECT nofunction(1)", "nofunction", ""),
        ("SELECT now()", "time zone", "::TIMESTAMP"),
        ("PIVOT metrics ON name USING avg(value)", "only one SELECT", "PIVOT … ON column IN"),
        ("DELETE FROM runs", "read, never written", ""),
        ("SELECT * FROM read_csv('x')", "read_csv() is not available", "the views are"),
    ],
)
def test_an_error_is_one_line_that_says_what_was_meant(
    filled: Store, sql: str, message: str, hint: str
):
    with pytest.raises(HarnessError) as caught:
        query(filled, sql)

    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_too_long_is_refused(filled: Store):
    assert len(query(filled, "SELECT * FROM range(5)", most_rows=5).rows) == 5

    with pytest.raises(HarnessError, match="more than 5 rows") as caught:
        query(filled, "SELECT * FROM range(6)", most_rows=5)

    assert caught.value.hint == "add LIMIT"


ENDLESS = (
    "SELECT count(*) FROM range(1000000000) a, range(100000) b WHERE (a.range * b.range) % 7 = 3"
)


def test_a_question_that_takes_too_long_is_given_up(filled: Store):
    with pytest.raises(HarnessError, match=r"more than 0\.2 s"):
        query(filled, ENDLESS, seconds=0.2)


@pytest.fixture
def heeds_ctrl_c():
    """Let this process hear SIGINT; one that a shell put into the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_ends_a_question(filled: Store):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    with pytest.raises(KeyboardInterrupt):
        query(filled, ENDLESS)
