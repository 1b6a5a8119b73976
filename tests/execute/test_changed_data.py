"""Finished runs, and data that is no longer what they were done with."""

from __future__ import annotations

import shutil

import pytest

from harness.plan import Request
from harness.study.cells import Cell
from harness.study.state import compare_data
from harness.testing.toys import toy_image


@pytest.fixture
def finished(toy, plan, execute, pictures):
    runs = plan(
        toy(dataset__name="folder", dataset__params={"path": "pictures"}, training__epochs=1),
        "contrastive",
    )
    assert execute(runs).finished == 1
    return runs


def test_a_skipped_run_of_other_images_is_warned_of(finished, execute, pictures, caplog):
    toy_image(9, 9, size=(20, 20)).save(pictures / "test" / "class7" / "1.png")

    summary = execute(finished)

    assert (summary.cached, summary.finished) == (1, 0)
    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    message = record.getMessage()
    assert message.startswith("data set folder in ")
    assert "is not what 1 of the finished runs were done with" in message
    assert message.endswith("results of both stay apart")


def test_a_run_that_was_done_with_both_copies_is_not_warned_of(
    finished, execute, pictures, caplog
):
    toy_image(9, 9, size=(20, 20)).save(pictures / "test" / "class7" / "1.png")
    assert execute(finished, existing="always").finished == 1
    caplog.clear()

    summary = execute(finished)

    assert summary.cached == 1
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


@pytest.mark.parametrize("what", ["equal", "touched", "gone"])
def test_data_that_is_equal_or_not_here_is_not_warned_of(
    what, finished, execute, pictures, caplog
):
    if what == "touched":
        (pictures / "test" / "class7" / "1.png").touch()
    if what == "gone":
        shutil.rmtree(pictures)

    summary = execute(finished)

    assert summary.cached == 1
    assert not [one for one in caplog.records if one.levelname == "WARNING"]


def test_a_study_warns_of_the_same(finished, store, pictures, caplog):
    cells = [Cell("contrastive", run.written, Request(), run) for run in finished]
    compare_data(cells, store, pictures.parent)
    assert not caplog.records

    toy_image(9, 9, size=(20, 20)).save(pictures / "test" / "class7" / "1.png")
    compare_data(cells, store, pictures.parent)

    (record,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert "is not what 1 of the finished runs were done with" in record.getMessage()
