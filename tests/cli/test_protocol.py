import json

import yaml


def test_show_prints_a_protocol_that_loads_again_with_the_digest_it_names(harness, tmp_path):
    shown = harness("protocol", "show", "digits")
    (tmp_path / "digits.yaml").write_text(shown.out)

    again = harness("protocol", "show", tmp_path / "digits.yaml")

    assert shown.code == 0
    assert again.out == shown.out
    assert yaml.safe_load(shown.out)["name"] == "digits"


def test_validate_checks_every_file_even_after_a_bad_one(harness, tmp_path):
    bad = tmp_path / "digits.yaml"
    bad.write_text((tmp_path / "protocols/digits.yaml").read_text().replace("m: 8", "mm: 8"))

    ended = harness("protocol", "validate", bad, "protocols/omniglot.yaml")

    assert ended.code == 2
    assert "mm" in ended.err
    assert ended.out.startswith("protocols/omniglot.yaml: valid, omniglot v1, digest ")


def test_diff_lists_what_differs_and_says_that_digests_decide(harness):
    ended = harness("protocol", "diff", "mlrc_cub", "mlrc_cars")

    assert ended.code == 0
    assert "dataset.name" in ended.out
    assert ended.out.endswith("not comparable: different digests\n")


def test_a_protocol_is_comparable_with_itself(harness):
    assert harness("protocol", "diff", "digits", "digits").out == "comparable: same digest\n"


def test_schema_is_json_that_names_every_field(harness):
    schema = json.loads(harness("protocol", "schema").out)

    assert {"dataset", "training", "evaluation"} <= set(schema["properties"])
