from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.documents import Position, dump_yaml, parse, parse_value, read
from harness.errors import HarnessError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-3", 1e-3),
        ("-3", -3),
        ("+3", 3),
        (".5", 0.5),
        ("2.", 2.0),
        ("0", 0),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("'no'", "no"),
        ('"10:30"', "10:30"),
        ("rgb", "rgb"),
        ("v1", "v1"),
        ("2020-01-01", "2020-01-01"),
        ("arXiv:2003.08505", "arXiv:2003.08505"),
        ("[0.9, 0.999]", [0.9, 0.999]),
        ("{value: 10}", {"value": 10}),
    ],
)
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: object):
    assert parse_value(text, source="--set x") == value
    assert type(parse_value(text, source="--set x")) is type(value)


def test_positions_count_lines_and_columns_from_one():
    document = parse("a: 1\nb:\n  - c: 2\n  - d\n", source="x.yaml")

    assert document.data == {"a": 1, "b": [{"c": 2}, "d"]}
    assert document.positions["a",] == Position(1, 1)
    assert document.positions["b", 0, "c"] == Position(3, 5)
    assert document.positions["b", 1] == Position(4, 5)


def test_what_is_not_written_is_placed_at_its_nearest_parent():
    document = parse("a:\n  b: 1\n", source="x.yaml")

    assert document.where(("a", "c", "d")) == "x.yaml:1:1: "
    assert document.where(("a", "b")) == "x.yaml:2:3: "


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        pytest.param("a: no", "x:1:4: no is read differently", "quote it ('no')", id="no"),
        pytest.param("a: On", "x:1:4: On is read differently", "quote it", id="on"),
        pytest.param("on: 1", "x:1:1: on is read differently", "quote it", id="key-on"),
        pytest.param("a: 10:30", "x:1:4: 10:30 is read", "'10:30'", id="base-60"),
        pytest.param("a: 012", "x:1:4: 012 is read", "plain decimal", id="octal"),
        pytest.param("a: 0x1f", "x:1:4: 0x1f is read", "plain decimal", id="hexadecimal"),
        pytest.param("a: 1_000", "x:1:4: 1_000 is read", "plain decimal", id="digit-groups"),
        pytest.param(
            "a: 1\nb: 2\na: 3", "x:3:1: key 'a' was already given in line 1", "keep", id="twice"
        ),
        pytest.param("b:\n  c: 1\n  c: 1", "x:3:3: key 'c' was already", "keep", id="twice-below"),
        pytest.param("a: &x 1", "x:1:4: uses an anchor", "write the value out", id="anchor"),
        pytest.param("a: *x", "x:1:4: uses an anchor or alias", "write", id="alias"),
        pytest.param("<<: {a: 1}", "x:1:1: uses a merge key", "write the keys", id="merge"),
        pytest.param("a: !!int 1", "x:1:4: uses the tag", "remove", id="tag"),
        pytest.param("a: !own 1", "x:1:4: uses the tag", "remove", id="own-tag"),
        pytest.param("a:\n\tb: 1", "x:2:1: a tab cannot indent", "use spaces", id="tab"),
        pytest.param("", "x:1:1: is empty", "key: value", id="empty"),
        pytest.param("# only a comment\n", "x:1:1: is empty", "key: value", id="comment"),
        pytest.param("- 1\n- 2", "x:1:1: must be a mapping, is a list of 2", "key:", id="list"),
        pytest.param("digits", "x:1:1: must be a mapping, is 'digits'", "key:", id="text"),
        pytest.param("a: 1\n---\nb: 2", "x:2:1: starts a second document", "one", id="two"),
        pytest.param("1: 2", "x:1:1: a key must be text, is 1", "quote", id="number-as-key"),
        pytest.param("? [a]\n: 2", "x:1:3: a key must be text", "None", id="list-as-key"),
        pytest.param("a: [1, 2", "x:1:9: not YAML", "indentation", id="open-bracket"),
        pytest.param("a: b: c", "x:1:5: not YAML", "indentation", id="two-colons"),
        pytest.param("a: '", "x:1:5: not YAML", "quotes", id="open-quote"),
        pytest.param("a: \x01", "x:1:4: holds a character", "None", id="control-character"),
        pytest.param("a: " + 60 * "[", "nested more than 40 levels", "None", id="deep"),
        pytest.param("a: " + 5000 * "9", "x:1:4: number has 5000 digits", "None", id="long"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(text: str, message: str, hint: str):
    with pytest.raises(HarnessError) as error:
        parse(text, source="x")

    assert message in error.value.message
    assert hint in str(error.value.hint)
    assert "\n" not in str(error.value)


def test_one_value_of_the_command_line_is_refused_without_line_and_column():
    with pytest.raises(HarnessError, match=r"^--set loss\.tau: not YAML"):
        parse_value("[1", source="--set loss.tau")


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(HarnessError, match=r"nothing\.yaml: no such file"):
        read(tmp_path / "nothing.yaml")


def test_a_folder_is_refused(tmp_path: Path):
    with pytest.raises(HarnessError, match="is a folder"):
        read(tmp_path)


def test_bytes_that_are_no_utf_8_are_refused_with_their_place(tmp_path: Path):
    file = tmp_path / "latin.yaml"
    file.write_bytes("a: 1\nb: für\n".encode("latin-1"))

    with pytest.raises(HarnessError, match=r"latin\.yaml:2:5: byte 0xfc is not UTF-8"):
        read(file)


def test_a_byte_order_mark_is_no_content(tmp_path: Path):
    file = tmp_path / "marked.yaml"
    file.write_bytes("a: für\n".encode("utf-8-sig"))

    assert read(file).data == {"a": "für"}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | TEXT
    | st.sampled_from(["no", "1e-4", "10:30", "0o7", "012", "1_0", "~", "null", "<<", "- a", "#"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, min_size=1, max_size=4))
def test_reading_gives_back_what_was_written(data: dict[str, object]):
    assert parse(dump_yaml(data), source="x").data == data


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text: str):
    refusal = ""
    try:
        parse(text, source="x")
    except HarnessError as error:
        refusal = error.message

    assert not refusal or refusal.startswith("x:")
    assert "\n" not in refusal
