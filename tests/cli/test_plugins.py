import json


def test_plugins_lists_each_with_version_counts_and_file(harness):
    ended = harness("plugins")

    line = next(line for line in ended.out.splitlines() if line.startswith("harness-vision"))
    assert ended.code == 0
    assert "backbones" in line
    assert line.endswith("harness_vision/__init__.py")


def test_plugins_as_json_is_one_object_per_line(harness):
    records = [json.loads(line) for line in harness("plugins", "--json").out.splitlines()]

    vision = next(record for record in records if record["distribution"] == "harness-vision")
    assert all(record["schema_version"] == 1 for record in records)
    assert vision["components"]["backbone"] >= 6
    assert vision["problems"] == []


def test_show_describes_a_card_and_its_parameters(harness):
    ended = harness("show", "loss", "hist")

    assert ended.code == 0
    assert "harness-hist 0.1.0" in ended.out
    tau = next(line for line in ended.out.splitlines() if line.startswith("tau "))
    assert "float" in tau
    assert "32.0" in tau


def test_show_as_json_carries_the_same(harness):
    record = json.loads(harness("show", "loss", "hist", "--json").out)

    assert (record["kind"], record["name"]) == ("loss", "hist")
    assert "tau" in [parameter["name"] for parameter in record["params"]]


def test_show_of_a_kind_lists_its_components(harness):
    lines = harness("show", "backbone").out.splitlines()[2:]

    assert {line.split()[0] for line in lines} == {"backbone"}
    assert "conv4" in [line.split()[1] for line in lines]


def test_no_plugin_but_the_core_is_loaded_when_the_list_is_empty(harness, monkeypatch):
    monkeypatch.setenv("HARNESS_LOAD_PLUGINS", "")

    lines = harness("plugins").out.splitlines()

    assert [line.split()[0] for line in lines[2:]] == ["dml-harness:core"]
