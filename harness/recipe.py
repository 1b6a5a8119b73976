"""Recipes: published values for the fields that a protocol leaves open."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, field_validator

from harness.documents import read, validate
from harness.errors import HarnessError
from harness.protocol import Section, wrong_with_path

if TYPE_CHECKING:
    from harness.specs import RecipeSpec


class Recipe(Section):
    """What a paper or a repository says it used.

    Attributes:
        name: Equal to the card's.
        summary: One line.
        source: Where the values were published, down to the table or file.
        method: Name of the loss they are for.
        protocols: The protocols it was published for, by name; all leave its fields open.
        values: Dotted path to value; they may touch open fields only.
        caveats: What is unclear or differs from the source.
    """

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    summary: str
    source: str = ""
    method: Annotated[str, Field(min_length=1)]
    protocols: tuple[str, ...] = ()
    values: dict[str, Any] = Field(default_factory=dict)
    caveats: tuple[str, ...] = ()

    @field_validator("values")
    @classmethod
    def _check_paths(cls, values: dict[str, Any]) -> dict[str, Any]:
        for path in values:
            wrong = wrong_with_path(path)
            if wrong:
                raise ValueError(wrong)
        return values


def load(card: RecipeSpec) -> Recipe:
    """Read the file of a recipe's card.

    Raises:
        HarnessError: The file is missing, is not a recipe, or is not the one the card announces.
    """
    try:
        file = resources.files(card.package).joinpath(card.path)
    except ModuleNotFoundError:
        raise HarnessError(f"recipe {card.name}: there is no package {card.package!r}") from None
    with resources.as_file(file) as path:
        recipe = validate(Recipe, read(Path(path)))
    for announced, written in ((card.name, recipe.name), (card.method, recipe.method)):
        if announced != written:
            raise HarnessError(f"recipe {card.name}: its file {card.path} says {written!r}")
    return recipe
