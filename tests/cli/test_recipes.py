import json

from harness.recipe import Recipe

CUB = "conventional_cub_resnet50_512"


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()[2:]]


def test_recipes_are_listed_by_method_and_by_protocol(harness):
    everything = rows_of(harness("recipes").out)
    of_hist = rows_of(harness("recipes", "--method", "hist").out)
    for_birds = rows_of(harness("recipes", "--protocol", CUB).out)

    assert {row[0] for row in everything} >= {"hist", "proxy_anchor"}
    assert {row[0] for row in of_hist} == {"hist"}
    assert [row[1] for row in of_hist if "cub" in row[1]] == ["cub_resnet50", "cub_resnet50_tuned"]
    assert ["hist", "cub_resnet50"] in [row[:2] for row in for_birds]
    assert all("cub" in row[1] for row in for_birds)


def test_json_holds_the_whole_recipe(harness):
    ended = harness("recipes", "hist/cub_resnet50", "--json")

    record = json.loads(ended.out)
    assert record.pop("distribution") == "harness-hist"
    assert record.pop("schema_version") == 1
    recipe = Recipe.model_validate(record)
    assert recipe.values["training"]["epochs"] == 40
    assert recipe.protocols == (CUB,)


def test_one_recipe_is_shown_with_the_command_that_runs_it(harness):
    ended = harness("recipes", "hist/cub_resnet50")

    assert ended.out.startswith("recipe hist/cub_resnet50\n  summary  CUB-200-2011")
    assert "loss.alpha: 1.1" in ended.out
    assert "\ncaveat: The published R@1 is quoted" in ended.out
    assert ended.out.endswith(f"harness run {CUB} --recipe hist/cub_resnet50\n")


def test_a_recipe_can_be_run_where_it_was_published(harness):
    ended = harness("plan", CUB, "--plugin", "hist", "--recipe", "cub_resnet50")

    assert ended.code == 0
    assert "hist@cub_resnet50 " in ended.out


def test_a_protocol_with_other_open_fields_names_the_one_that_fits(harness):
    ended = harness("plan", "mlrc_cub", "--plugin", "hist", "--recipe", "cub_resnet50")

    assert ended.code == 2
    assert "protocol mlrc_cub fixes head.pooling (avg)" in ended.err
    assert f"harness run {CUB} --recipe hist/cub_resnet50" in ended.err


def test_an_unknown_method_is_refused_with_what_is_near(harness):
    ended = harness("recipes", "--method", "hits")

    assert ended.code == 2
    assert "no recipe for the method 'hits'" in ended.err
    assert "'hist'" in ended.err
