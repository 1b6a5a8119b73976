"""The pages say what the shipped sample answers, to the last digit."""

import re
from pathlib import Path

import pytest

from harness.report.tables import render
from harness.settings import SAMPLE_STORE
from harness.store.database import query
from harness.store.maintenance import verify
from harness.store.writer import find_store

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "sql.md").read_text(encoding="utf-8")
QUESTION = r"^## (\d+)\. ([^\n]+)\n.*?```sql\n(.*?)```\n\n((?:\|[^\n]*\n)+)"
QUESTIONS = re.findall(QUESTION, PAGE, re.DOTALL | re.MULTILINE)
SECTION = r"^## ([^\n]+)\n[^#]*?```sql\n(.*?)```\n\n((?:\|[^\n]*\n)+)"
SECTIONS = re.findall(
    SECTION,
    (DOCS / "reality_check.md").read_text(encoding="utf-8"),
    re.DOTALL | re.MULTILINE,
)
MOST_BYTES = 1_500_000


def test_there_are_fifteen_questions_each_with_an_answer():
    assert [int(number) for number, *_ in QUESTIONS] == list(range(1, 16))
    assert PAGE.count("```sql") == 15
    assert len(SECTIONS) == 2


@pytest.mark.parametrize(
    ("sql", "answer"),
    [pytest.param(sql, a, id=name) for _, name, sql, a in QUESTIONS]
    + [pytest.param(sql, a, id=name) for name, sql, a in SECTIONS],
)
def test_the_sample_gives_the_answer_that_is_shown(sql: str, answer: str):
    found = query(find_store(SAMPLE_STORE), sql)

    # After a change that is meant: python docs/refresh_answers.py
    assert render(found, "md") + "\n" == answer
    assert len(found.rows) > 1


def test_the_sample_is_small_whole_and_names_no_machine():
    files = [path for path in SAMPLE_STORE.rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    assert verify(find_store(SAMPLE_STORE)).damaged == ()
    hosts = query(find_store(SAMPLE_STORE), "SELECT DISTINCT host FROM attempts").rows
    assert hosts == ((None,),)
