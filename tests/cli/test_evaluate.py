"""`harness evaluate`: every file it reads, every number it prints, everything it refuses."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.evaluation import evaluate

LINE = np.array([[0.0], [1.0], [2.6], [2.0], [4.5], [3.9]], dtype=np.float32)
CLASSES = np.array([0, 0, 0, 1, 1, 2])
PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def write_npz(folder, name="line.npz", **changes):
    columns = {"embeddings": LINE, "labels": CLASSES} | changes
    np.savez(folder / name, **{key: value for key, value in columns.items() if value is not None})
    return name


def write_parquet(folder, name="line.parquet", *, fixed=True, **columns):
    kind = pa.list_(pa.float32(), 1) if fixed else pa.list_(pa.float32())
    table = {"embedding": pa.array(LINE.tolist(), kind), "label": pa.array(CLASSES)} | columns
    pq.write_table(pa.table(table), folder / name, row_group_size=4)
    return name


def answer(ended):
    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    return json.loads(line)


def measured(harness, *words):
    return answer(harness("evaluate", *words, "--distance", "euclidean", "--json"))


def test_the_worked_example_is_one_json_object_with_all_that_its_values_depend_on(
    harness, tmp_path
):
    found = measured(harness, write_npz(tmp_path), "--metrics", "map_at_r,precision_at_1")

    assert found == {
        "schema_version": 1,
        "values": {"map_at_r": pytest.approx(0.2), "precision_at_1": pytest.approx(0.4)},
        "versions": {"map_at_r": 1, "precision_at_1": 1},
        "num_queries": 6,
        "num_lone_queries": 1,
        "num_gallery": 6,
        "gallery": "the queries",
        "dimensions": 1,
        "distance": "euclidean",
        "normalized": False,
        "backend": "torch",
    }


def test_people_get_a_table(harness, tmp_path):
    ended = harness("evaluate", write_npz(tmp_path), "--distance", "euclidean")

    assert ended.code == 0
    assert re.search(r"^map_at_r +1 +0\.200000$", ended.out, re.MULTILINE)
    assert re.search(r"^num lone queries +1$", ended.out, re.MULTILINE)


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed-size", "variable"])
def test_parquet_and_npz_of_the_same_numbers_are_equal(harness, tmp_path, fixed):
    of_parquet = measured(harness, write_parquet(tmp_path, fixed=fixed))

    assert of_parquet == measured(harness, write_npz(tmp_path))


@pytest.mark.parametrize("write", [write_npz, write_parquet])
def test_a_file_without_samples_is_refused_in_one_line(harness, tmp_path, write):
    empty = pa.array([], pa.list_(pa.float32(), 1)), pa.array([], pa.int64())
    npz = {"embeddings": LINE[:0], "labels": CLASSES[:0]}
    columns = npz if write is write_npz else dict(zip(("embedding", "label"), empty, strict=True))

    ended = harness("evaluate", write(tmp_path, **columns))

    assert ended.code == 2
    assert "is empty: there is nothing to evaluate" in ended.err


def test_embeddings_of_a_run_give_the_values_of_its_rows(harness, tmp_path):
    run = harness(
        *("run", "digits", "--plugin", "contrastive", "--smoke", "--save-embeddings", "--json")
    )
    assert run.code == 0, run.err
    stored = harness("query", "SELECT name, value FROM metrics WHERE part = 'test' AND selected")
    (file,) = tmp_path.glob("runs/embeddings/*/*.npz")
    rows = dict(re.findall(r"^(\w+) +([\d.]+)$", stored.out, re.MULTILINE))
    assert len(rows) >= 3, stored.out

    found = answer(harness("evaluate", file, "--metrics", ",".join(rows), "--json"))

    assert found["values"] == {
        name: pytest.approx(float(value), abs=1e-4) for name, value in rows.items()
    }


# --- two sides --------------------------------------------------------------------------------


GALLERY = {"embeddings": LINE + 0.25, "labels": CLASSES}


def expected_apart(**options):
    return evaluate(
        LINE,
        CLASSES,
        gallery=GALLERY["embeddings"],
        gallery_labels=CLASSES,
        distance="euclidean",
        **options,
    )


def both_in_one(folder, write=write_npz):
    parts = ["query"] * 6 + ["gallery"] * 6
    values, labels = np.concatenate([LINE, GALLERY["embeddings"]]), np.tile(CLASSES, 2)
    if write is write_npz:
        return write_npz(folder, "both.npz", embeddings=values, labels=labels, part=parts)
    table = {"embedding": pa.array(values.tolist()), "label": labels}
    return write_parquet(folder, **table, part=pa.array(parts).dictionary_encode())


def test_two_files_are_queries_and_gallery(harness, tmp_path):
    query, gallery = write_npz(tmp_path), write_npz(tmp_path, "gallery.npz", **GALLERY)

    for words in ((query, "--gallery", gallery), ("--query", query, "--gallery", gallery)):
        found = measured(harness, *words)

        assert found["values"] == expected_apart()
        assert (found["num_queries"], found["num_gallery"]) == (6, 6)
        assert found["gallery"] == "apart"


@pytest.mark.parametrize("write", [write_npz, write_parquet])
def test_rows_of_one_file_are_queries_and_gallery(harness, tmp_path, write):
    file = both_in_one(tmp_path, write)

    found = measured(harness, file, "--query", "part=query", "--gallery", "part=gallery")

    assert found["values"] == expected_apart()


def test_a_file_may_hold_its_gallery(harness, tmp_path):
    gallery = {"gallery": GALLERY["embeddings"], "gallery_labels": CLASSES}

    found = measured(harness, write_npz(tmp_path, **gallery))

    assert found["values"] == expected_apart()


def test_a_sample_is_no_neighbour_of_itself_wherever_the_gallery_is(harness, tmp_path):
    query = write_npz(tmp_path, sample_ids=np.arange(6))
    order = [5, 0, 2, 3, 1, 4]  # rows 0 and 3, as near as one another to row 1, stay in order
    moved = {"embeddings": LINE[order], "labels": CLASSES[order], "sample_ids": order}

    apart = measured(harness, query, "--gallery", write_npz(tmp_path, "moved.npz", **moved))

    assert apart["values"] == measured(harness, query)["values"]
    assert apart["num_lone_queries"] == 1


def test_text_labels_and_ids_are_as_good_as_numbers(harness, tmp_path):
    names = np.array(["wren", "wren", "wren", "owl", "owl", "tit"])
    ids = np.array([f"img{row}.jpg" for row in range(6)])

    found = measured(harness, write_npz(tmp_path, "names.npz", labels=names, sample_ids=ids))

    assert found == measured(harness, write_npz(tmp_path))


def test_columns_may_have_any_name(harness, tmp_path):
    file = write_npz(tmp_path, "mine.npz", embeddings=None, labels=None, x=LINE, y=CLASSES)

    found = measured(harness, file, "--embeddings", "x", "--labels", "y")

    assert found == measured(harness, write_npz(tmp_path))


# --- what must change nothing, and what must -----------------------------------------------------


def test_backend_and_memory_change_no_value(harness, tmp_path):
    plain = measured(harness, write_npz(tmp_path))

    other = measured(harness, "line.npz", "--backend", "faiss", "--memory", "1MiB")

    assert other == plain | {"backend": "faiss"}


def test_normalisation_matters_to_euclidean_distance(harness, tmp_path):
    draw = np.random.default_rng(0)
    values = draw.normal(size=(40, 3)) * draw.uniform(0.1, 10, (40, 1))
    file = write_npz(tmp_path, embeddings=values, labels=draw.integers(0, 5, 40))

    as_they_are, normalized = (
        measured(harness, file, f) for f in ("--no-normalize", "--normalize")
    )
    cosine = answer(harness("evaluate", file, "--json"))

    assert normalized["values"] == pytest.approx(cosine["values"])
    assert as_they_are["values"] != pytest.approx(cosine["values"])
    assert (as_they_are["normalized"], normalized["normalized"]) == (False, True)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        pytest.param(LINE.astype(np.float16), CLASSES, id="half-precision"),
        pytest.param(np.repeat(LINE, 2, axis=1)[:, ::2], CLASSES, id="not-contiguous"),
        pytest.param(np.asfortranarray(LINE.astype(">f8")), CLASSES, id="other-byte-order"),
        pytest.param(LINE, CLASSES + 2**24, id="labels-above-float32"),
        pytest.param(LINE, CLASSES.astype(np.uint8), id="small-labels"),
    ],
)
def test_type_and_layout_of_a_file_change_no_value(harness, tmp_path, values, labels):
    found = measured(harness, write_npz(tmp_path, embeddings=values, labels=labels))

    exact = measured(harness, write_npz(tmp_path))
    assert found["values"] == pytest.approx(exact["values"], abs=1e-12)


def test_one_class_is_perfect(harness, tmp_path):
    found = measured(harness, write_npz(tmp_path, labels=np.zeros(6, int)))

    assert set(found["values"].values()) == {1.0}


def test_a_query_whose_class_the_gallery_lacks_is_lone(harness, tmp_path):
    query = write_npz(tmp_path)
    gallery = write_npz(tmp_path, "gallery.npz", embeddings=LINE[:3], labels=CLASSES[:3])

    found = measured(harness, query, "--gallery", gallery)

    assert (found["num_queries"], found["num_lone_queries"]) == (6, 3)


# --- bad input --------------------------------------------------------------------------------

BROKEN = LINE.copy()
BROKEN[2] = np.nan

BAD = [
    pytest.param({"embeddings": BROKEN}, (), "1 of 6 embeddings contain NaN", id="nan"),
    pytest.param({"embeddings": LINE + np.inf}, (), "NaN or infinity", id="infinity"),
    pytest.param({"labels": range(6)}, (), "none of the 6 queries", id="all-lone"),
    pytest.param({"labels": CLASSES[:5]}, (), "embeddings has 6 rows, the labels have 5", id="l"),
    pytest.param({"labels": CLASSES / 2}, (), "whole numbers or text, is float64", id="floats"),
    pytest.param(
        {"embeddings": LINE[:, 0]}, (), "one row of numbers for each sample", id="vector"
    ),
    pytest.param({"embeddings": LINE.astype(str)}, (), "must be numbers", id="text"),
    pytest.param({"embeddings": LINE.astype(object)}, (), "cannot be read: Object", id="pickled"),
    pytest.param(
        {"labels": None}, (), "has no column 'labels'; it has embeddings", id="no-labels"
    ),
    pytest.param({"sample_ids": [0] * 6}, (), "the same sample id", id="ids-repeat"),
    pytest.param({"sample_ids": [0.5] * 6}, (), "whole numbers or text", id="float-ids"),
    pytest.param({"labels": [2**64 - 1] * 6}, (), "beyond 64-bit", id="huge-labels"),
    pytest.param({}, ("--metrics", "map_at_1"), "the 2 that a query", id="k-below-r"),
    pytest.param({}, ("--metrics", "map_at_rr"), "did you mean", id="misspelt-metric"),
    pytest.param({}, ("--metrics", ","), "no metric is asked for", id="no-metric"),
    pytest.param({}, ("--metrics", "recall_at_0"), "0 is less than 1", id="recall-at-0"),
    pytest.param({}, ("--distance", "cosin"), "'cosin' is not one of", id="distance"),
    pytest.param({}, ("--backend", "fais"), "did you mean 'faiss'", id="backend"),
    pytest.param({}, ("--memory", "1"), "at least 1MiB", id="memory"),
    pytest.param({}, ("--labels", "label"), "did you mean 'labels'", id="misspelt-column"),
    pytest.param({}, ("--ids", "name"), "has no column 'name'", id="no-ids"),
    pytest.param({}, ("--query", "part=test"), "has no column 'part'", id="no-part"),
    pytest.param({}, ("--query", "labels=7"), "labels is '7' nowhere", id="empty-query"),
    pytest.param({}, ("--gallery", "none.npz"), "none.npz is missing", id="no-gallery"),
    pytest.param({}, ("--gallery", "."), ". is a folder", id="folder"),
    pytest.param({}, ("--query", "line.npz", "--gallery", "x.npz"), "x.npz is missing", id="x"),
]


@pytest.mark.parametrize(("columns", "words", "says"), BAD)
def test_bad_input_is_one_readable_line(harness, tmp_path, columns, words, says):
    ended = harness("evaluate", write_npz(tmp_path, **columns), *words)

    assert ended.code == 2
    assert ended.out == ""
    assert says in ended.err
    assert ended.err.startswith("error: ")
    assert len(ended.err.splitlines()) <= 2
    assert "Traceback" not in ended.err


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "is neither .npz nor Parquet", id="empty"),
        pytest.param(b"embedding,label\n", "is neither .npz nor Parquet", id="csv"),
        pytest.param(b"PK\x03\x04 not a zip", "cannot be read", id="damaged-npz"),
        pytest.param(b"PAR1 not Parquet PAR1", "cannot be read", id="damaged-parquet"),
        pytest.param(b"\x93NUMPY\x01\x00", "is one array, without labels", id="npy"),
    ],
)
def test_a_file_that_is_something_else_is_one_readable_line(harness, tmp_path, content, says):
    (tmp_path / "file").write_bytes(content)

    ended = harness("evaluate", "file")

    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        pytest.param(
            {"embedding": [[0.0], [1.0, 2.0], [3.0]] * 2}, "different lengths", id="ragged"
        ),
        pytest.param({"embedding": [[0.0], None] * 3}, "is NULL in 3 of 6 rows", id="null-row"),
        pytest.param({"embedding": [[0.0], [None]] * 3}, "holds 3 NULLs", id="null-number"),
        pytest.param({"label": [1, None] * 3}, "label is NULL in 3 of 6 rows", id="null-label"),
        pytest.param({"embedding": ["a"] * 6}, "one row of numbers", id="text"),
        pytest.param({"label": [True, False] * 3}, "whole numbers or text", id="truth-values"),
    ],
)
def test_a_parquet_column_that_means_nothing_is_one_readable_line(
    harness, tmp_path, columns, says
):
    arrays = {name: pa.array(values) for name, values in columns.items()}

    ended = harness("evaluate", write_parquet(tmp_path, **arrays))

    assert ended.code == 2
    assert says in ended.err
    assert len(ended.err.splitlines()) <= 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param((), "missing argument 'FILE'", id="nothing"),
        pytest.param(("--query", "part=test"), "there is no FILE", id="rows-of-nothing"),
        pytest.param(
            ("line.npz", "--query", "a.npz", "--gallery", "b.npz"),
            "nothing is read from line.npz",
            id="a-file-too-many",
        ),
    ],
)
def test_sides_that_are_nowhere_are_refused(harness, words, says):
    ended = harness("evaluate", *words)

    assert ended.code == 2
    assert says in ended.err


def test_ids_on_one_side_only_are_refused(harness, tmp_path):
    query = write_npz(tmp_path, sample_ids=range(6))

    ended = harness("evaluate", query, "--gallery", write_npz(tmp_path, "plain.npz"))

    assert ended.code == 2
    assert "one side has sample ids and the other has none" in ended.err


def test_sides_of_different_width_and_kind_are_refused(harness, tmp_path):
    query = write_npz(tmp_path)
    wide = write_npz(tmp_path, "wide.npz", embeddings=np.zeros((6, 2)))
    names = write_npz(tmp_path, "names.npz", labels=list("aabbcc"))

    assert "1 dimensions, the gallery has 2" in harness("evaluate", query, "--gallery", wide).err
    assert "the labels are text on one side" in harness("evaluate", query, "--gallery", names).err


# --- the page ---------------------------------------------------------------------------------


def test_the_example_of_the_page_prints_what_the_page_shows(harness, tmp_path, monkeypatch):
    code, _ = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (console,) = re.findall(r"```console\n(.*?)```", PAGE.read_text(), re.DOTALL)
    command, *expected = console.splitlines()
    monkeypatch.chdir(tmp_path)
    exec(code, {})

    ended = harness(*command.removeprefix("$ harness ").split())

    assert ended.out.splitlines() == expected
