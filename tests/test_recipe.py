from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness import protocol as protocols
from harness.errors import HarnessError
from harness.plan import Request, make_plan
from harness.recipe import load
from harness.registry import Entry, discover
from harness.specs import RecipeSpec

ROOT = Path(__file__).parents[1]
TEXT = """\
name: published
summary: Values of a paper.
method: hist
values:
  loss.tau: 8
  training.optimizer.lr: 1e-4
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "some_recipes"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "published.yaml").write_text(TEXT)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_recipes", raising=False)
    return folder


def card(**changes: str) -> RecipeSpec:
    facts = {"name": "published", "method": "hist", "package": "some_recipes"}
    return RecipeSpec(summary="", **{**facts, "path": "published.yaml", **changes})


def test_a_recipe_is_read_from_its_package(package: Path):
    recipe = load(card())

    assert recipe.values == {"loss.tau": 8, "training.optimizer.lr": 1e-4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"path": "gone.yaml"}, "gone.yaml: no such file", id="file"),
        pytest.param({"package": "nobody_has_this"}, "there is no package", id="package"),
        pytest.param({"name": "other"}, "recipe other: its file published.yaml says", id="name"),
        pytest.param({"method": "margin"}, "published.yaml says 'hist'", id="method"),
    ],
)
def test_a_card_that_does_not_fit_its_file_is_refused(
    package: Path, changes: dict[str, str], message: str
):
    with pytest.raises(HarnessError, match=message):
        load(card(**changes))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("values:", "value:", "unknown key (did you mean 'values'?)", id="key"),
        pytest.param(
            "training.optimizer.lr",
            "training.optimiser.lr",
            "values: 'training.optimiser.lr' names no field (did you mean 'optimizer'",
            id="path",
        ),
        pytest.param("loss.tau", "seeds", "'seeds' belongs to the protocol itself", id="identity"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_place(package: Path, old: str, new: str, message: str):
    file = package / "published.yaml"
    file.write_text(TEXT.replace(old, new))

    with pytest.raises(HarnessError) as error:
        load(card())

    assert message in error.value.message
    assert error.value.message.startswith(f"{file}:")


REGISTRY = discover()
INSTALLED = [
    pytest.param(entry, id=f"{entry.card.method}/{entry.name}")
    for entry in REGISTRY.entries("recipe")
]


@pytest.mark.parametrize("entry", INSTALLED)
def test_an_installed_recipe_says_where_it_is_from_and_what_its_card_says(entry: Entry):
    recipe = load(entry.card)

    assert recipe.summary == entry.card.summary
    assert recipe.source
    assert recipe.values
    assert len(set(recipe.protocols)) == len(recipe.protocols) > 0


@pytest.mark.parametrize("entry", INSTALLED)
def test_an_installed_recipe_runs_under_the_protocols_it_names(entry: Entry):
    recipe = load(entry.card)
    request = Request(recipe=f"{entry.origin.entry_point}:{recipe.name}")

    for name in recipe.protocols:
        protocol = protocols.load(ROOT / "protocols" / f"{name}.yaml")
        run = make_plan(protocol, REGISTRY, request)[0]

        assert run.deviations == ()
        assert run.loss.card.name == recipe.method
        assert run.method.endswith(f"@{recipe.name}")


def test_every_file_of_recipes_has_a_card():
    files = {path.relative_to(ROOT) for path in ROOT.glob("plugins/*/*/recipes/*")}

    cards = [entry.card for entry in REGISTRY.entries("recipe")]

    announced = [next(ROOT.glob(f"plugins/*/{card.package}/{card.path}")) for card in cards]
    assert files == {path.relative_to(ROOT) for path in announced}
