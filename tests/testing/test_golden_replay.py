"""The replayer: what it accepts, and what it must not let pass."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.errors import HarnessError
from harness.testing.golden import (
    Case,
    Tolerance,
    array_difference,
    compare,
    read_cases,
    replay,
    tally,
)

GOLDENS = Path(__file__).parents[1] / "golden"
EXACT = Tolerance(0, 0)


def hist_case(**changes) -> Case:
    case = next(case for case in read_cases(GOLDENS) if case.case_id == "histre_v09_manhattan_L4")
    content = copy.deepcopy(dict(case.content))
    for key, value in changes.items():
        content[key] = content[key] | value
    return Case(case.method, case.case_id, case.kind, content, case.file)


def problems(case: Case) -> str:
    return "\n".join(map(str, replay(case, torch.float64)))


def test_an_untouched_case_has_no_mismatch():
    assert problems(hist_case()) == ""


def test_a_wrong_number_is_named_with_its_place():
    assert "histre_v09_manhattan_L4/loss: off by" in problems(hist_case(expected={"loss": 1.0}))


def test_an_unknown_expected_key_fails():
    case = hist_case(expected={"grad_of_something": [1.0]})

    assert "/grad_of_something: the replay does not know this key" in problems(case)


def test_an_unknown_parameter_fails():
    assert "temperature" in problems(hist_case(params={"temperature": 2}))


def test_an_unknown_input_fails():
    assert "unknown inputs: noise" in problems(hist_case(inputs={"noise": [0.0]}))


def test_an_unknown_method_fails():
    case = hist_case()
    unknown = Case("no_such_method", "x", "single", case.content, "f.json")

    assert "no_such_method" in problems(unknown)


def test_an_unknown_kind_fails():
    case = hist_case()
    unknown = Case("hist", "x", "movie", case.content, "f.json")

    assert "unknown kind of golden case 'movie'" in problems(unknown)


def test_a_missing_state_entry_fails():
    case = hist_case()
    del case.content["inputs"]["params"]["theta1.weight"]

    assert "theta1.weight" in problems(case)


@pytest.mark.parametrize(
    ("expected", "observed", "problem"),
    [
        ([1.0, 2.0], [1.0, 2.0 + 1e-9], None),
        ([1.0, 2.0], [1.0, 2.1], "off by 0.1"),
        ([0.0, 100.0], [1e-6, 100.0], None),  # the tolerance is relative to the largest entry
        ([], np.zeros((0, 3)), None),  # a list of no rows has no width
        ([1.0], ["a"], "['a'], [1.] expected"),
        ([1.0, 2.0], [1.0], "shape"),
        ([1.0, float("nan")], [1.0, float("nan")], None),
        ([1.0, float("nan")], [1.0, 2.0], "not finite in other places"),
        ([1.0, 2.0], [1.0, float("nan")], "off by nan"),
        ([float("inf")], [float("-inf")], "not finite in other places"),
        ([1, 2], [1, 2], None),
        ([1, 2], [1, 3], "expected"),
        ([True], [False], "expected"),
    ],
)
def test_arrays_are_compared_as_a_whole(expected, observed, problem: str | None):
    tolerance = Tolerance(1e-7, 1e-10, per_array=True)
    found = array_difference(np.array(expected), np.array(observed), tolerance)

    assert (found is None) if problem is None else (problem in (found or ""))


def test_words_for_numbers_are_numbers():
    expected = {"a": ["NaN", 1.0], "b": "Infinity"}
    observed = {"a": torch.tensor([float("nan"), 1.0]), "b": float("inf")}

    assert list(compare(expected, observed, EXACT)) == []


def test_steps_are_compared_one_by_one():
    expected = [{"loss": 1.0}, {"loss": 2.0}]

    (mismatch,) = compare(expected, [{"loss": 1.0}, {"loss": 3.0}], EXACT, place="x")

    assert str(mismatch) == "x[1]/loss: off by 1, 0 allowed"


def test_too_few_steps_fail():
    (mismatch,) = compare([{"loss": 1.0}, {"loss": 2.0}], [{"loss": 1.0}], EXACT)

    assert mismatch.problem == "1 entries, 2 expected"


def test_a_tolerance_holds_for_each_entry_unless_the_case_says_per_array():
    expected, observed = np.array([0.0, 100.0]), np.array([1e-6, 100.0])

    assert array_difference(expected, observed, Tolerance(1e-7, 1e-10)) is not None
    assert array_difference(expected, observed, Tolerance(1e-7, 1e-10, per_array=True)) is None


def test_the_rule_of_a_case_says_which_tolerance_holds():
    per_entry = hist_case()
    per_entry.content["tolerance"] = {"float32": {"rtol": 1, "atol": 2}, "rule": "each entry"}

    assert hist_case().tolerance(torch.float64).per_array
    assert per_entry.tolerance(torch.float64) == Tolerance(1, 2)


def test_ragged_lists_and_nulls_are_compared_entry_by_entry():
    expected = {"pools": [[1, 2], [3]], "terms": [None, 0.5]}

    same = compare(expected, {"pools": [torch.tensor([1, 2]), [3]], "terms": [None, 0.5]}, EXACT)
    (pools, terms) = compare(expected, {"pools": [[1, 2], [4]], "terms": [0.0, 0.5]}, EXACT)

    assert list(same) == []
    assert str(pools) == "/pools[1]: [4], [3] expected"
    assert str(terms) == "/terms[0]: 0.0, None expected"


def test_informational_numbers_are_not_asked_for():
    assert problems(hist_case(expected={"reference_loss": 7.0, "loss_intended": 7.0})) == ""


def test_informational_numbers_of_a_step_are_not_asked_for():
    case = next(case for case in read_cases(GOLDENS) if case.case_id == "hist_v06_adam_3steps")
    content = copy.deepcopy(dict(case.content))
    content["expected"]["steps"][1] |= {"intermediates": {"x": 1.0}}
    marked = Case(case.method, case.case_id, case.kind, content, case.file)

    assert problems(marked) == ""


def raising_case(**inputs) -> Case:
    case = hist_case(inputs=inputs)
    return Case(
        case.method, "x", case.kind, {**case.content, "expected": {"error": "ValueError"}}, "f"
    )


def test_where_the_authors_code_raises_a_finite_loss_or_a_refusal_is_right():
    refused = raising_case()
    refused.content["params"]["tau"] = -1  # outside the range on the card

    assert problems(raising_case()) == problems(refused) == ""


def test_where_the_authors_code_raises_a_misunderstood_case_still_fails():
    assert "unknown inputs: noise" in problems(raising_case(noise=[0.0]))


def test_where_the_authors_code_raises_nan_is_wrong():
    rows = hist_case().inputs["embeddings"]
    nan = [["NaN"] * len(row) for row in rows]

    assert "/loss: not finite" in problems(raising_case(embeddings=nan))


def test_cases_are_counted_by_method_and_dtype():
    right, wrong = hist_case(), hist_case(expected={"loss": 1.0})

    double, single = tally([right, wrong])

    assert (double.method, double.dtype, double.replayed, double.passed) == (
        "hist",
        "float64",
        2,
        1,
    )
    assert single.dtype == "float32"
    assert [m.place for m in single.mismatches] == ["histre_v09_manhattan_L4/loss"]


def test_an_empty_folder_is_an_error(tmp_path: Path):
    with pytest.raises(HarnessError, match="no golden files") as caught:
        read_cases(tmp_path)

    assert caught.value.hint == "set HARNESS_GOLDENS to a folder"


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"method": "hist"}]', "null"])
def test_a_file_that_is_no_list_of_cases_is_an_error(tmp_path: Path, text: str):
    (tmp_path / "broken.json").write_text(text)

    with pytest.raises(HarnessError, match=r"broken\.json"):
        read_cases(tmp_path)


def test_cases_keep_their_provenance():
    cases = json.loads((GOLDENS / "hist.json").read_text())

    assert all({"source", "environment", "tolerance"} <= set(case) for case in cases)
