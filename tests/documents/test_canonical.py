from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.documents import canonical_json, digest_of


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param({"a": 1, "b": 2}, {"b": 2, "a": 1}, id="key-order"),
        pytest.param({"a": 32}, {"a": 32.0}, id="whole-number"),
        pytest.param([1, (2, 3)], (1, [2, 3]), id="tuples"),
        pytest.param(0.0, -0.0, id="zero"),
    ],
)
def test_equal_content_has_one_spelling(left: object, right: object):
    assert canonical_json(left) == canonical_json(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(1, True, id="boolean"),
        pytest.param(1, "1", id="text"),
        pytest.param([1, 2], [2, 1], id="list-order"),
        pytest.param(None, {}, id="nothing"),
        pytest.param({"a": None}, {}, id="absent"),
    ],
)
def test_different_content_is_spelt_differently(left: object, right: object):
    assert canonical_json(left) != canonical_json(right)


def test_the_digest_is_plain_sha256_of_the_spelling():
    assert digest_of({"é": 1.5}) == hashlib.sha256('{"é":1.5}'.encode()).hexdigest()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_not_rounded(value: float):
    assert float(canonical_json(value)) == value


def test_numbers_that_are_not_finite_have_no_spelling():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))
