"""`harness data sample`."""

import pytest
from PIL import Image

SAMPLE = ("data", "sample", "digits")


def test_a_sheet_is_written_and_said(harness, tmp_path):
    ended = harness(*SAMPLE, "-o", "digits.png", "--rows", 6, "--seed", 1)

    assert ended == (0, "digits.png: 48 images of 16x16, 5 classes, 2 batches\n", "")
    with Image.open(tmp_path / "digits.png") as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"


def test_what_a_run_would_change_changes_the_sheet(harness):
    plain = harness(*SAMPLE, "-o", "plain.png")
    deviating = harness(*SAMPLE, "-o", "few.png", "--deviate", "training.batch_size=24")

    assert plain.out == "plain.png: 64 images of 16x16, 5 classes, 2 batches\n"
    assert deviating.out == "few.png: 64 images of 16x16, 5 classes, 3 batches\n"


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        pytest.param(("-o", "sheet.jpg"), "a sheet is a PNG", "-o sheet.png", id="format"),
        pytest.param(("-o", "no/sheet.png"), "there is no folder no", "", id="folder"),
        pytest.param(("--fold", "3"), "fold 3", "", id="fold"),
        pytest.param(("--rows", "0"), "0 is not in the range", "", id="rows"),
        pytest.param(("--set", "sampler.m=4"), "fixes sampler.m", "--deviate", id="fixed"),
    ],
)
def test_bad_input_is_worded_and_nothing_is_written(harness, tmp_path, words, message, hint):
    ended = harness(*SAMPLE, *words)

    assert ended.code == 2
    assert message in ended.err
    assert hint in ended.err
    assert list(tmp_path.rglob("*.png")) == []


def test_missing_data_says_what_to_put_where(harness):
    ended = harness("data", "sample", "omniglot")

    assert ended.code == 2
    assert "data set 'omniglot' is not in" in ended.err
    assert "images_background_small1.zip" in ended.err
