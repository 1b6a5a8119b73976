"""The schema of `studies/*.yaml`: methods x protocols x folds x seeds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from harness import protocol as protocols
from harness.documents import Document, canonical_json, dump_yaml, read, validate
from harness.errors import HarnessError, did_you_mean
from harness.plan import Request
from harness.protocol import Protocol, Section, wrong_with_path
from harness.search.asking import Sampler
from harness.search.space import Dimension

SCHEMA_VERSION = 1
FOLDER = Path("studies")
MOST_REPEATS = 100_000


def _numbers(value: object) -> object:
    """Read `0-9`, `0,2` and `0` as the command line does; lists pass as they are."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, list):
        return tuple(value)  # pyright: ignore[reportUnknownArgumentType] - checked after this
    if not isinstance(value, str):
        return value
    numbers: list[int] = []
    for word in value.split(","):
        match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", word)
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not low <= high < low + MOST_REPEATS:
            raise ValueError(f"{value!r} is not like 0-9 or 0,2")
        numbers += range(low, high + 1)
    return tuple(numbers)


Numbers = Annotated[
    tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_numbers), Field(min_length=1)
]


class SearchRule(Section):
    """How good values are looked for, the same for every method of a study.

    Attributes:
        trials: Of each method under each protocol. The first has the values that the method
            starts with.
        sampler: What is tried next: `tpe` learns from the trials before, `random` does not,
            `grid` takes evenly spaced points.
        seed: Of the sampler.
        seeds: Repeats of each trial; none of them may be one of the study's.
        folds: On which each trial is done; None means each protocol's own.
    """

    trials: Annotated[int, Field(ge=1, le=100_000)]
    sampler: Sampler = "tpe"
    seed: Annotated[int, Field(ge=0)] = 0
    seeds: Numbers = (1000,)
    folds: Numbers | None = None


class Method(Section):
    """One of the things compared: components, a recipe, values.

    Attributes:
        name: What the study calls it; the rows carry the label that a single run would have.
        plugins: Components by name, as `--plugin` takes them.
        params: Values of parameters and open fields by dotted path, as `--set` takes them.
        deviations: The same for fields that a protocol fixes, as `--deviate` takes them.
        recipe: Published values to start from.
        space: Where a search looks, by path; empty leaves it to the cards of the components.
    """

    name: Annotated[str, Field(min_length=1)]
    plugins: tuple[str, ...] = ()
    params: dict[str, Any] = Field(default_factory=dict)
    deviations: dict[str, Any] = Field(default_factory=dict)
    recipe: str | None = None
    space: dict[str, Dimension] = Field(default_factory=dict)

    @field_validator("params", "deviations", "space")
    @classmethod
    def _check_paths(cls, values: dict[str, Any]) -> dict[str, Any]:
        for path in values:
            wrong = wrong_with_path(path)
            if wrong:
                raise ValueError(wrong)
        return values

    @model_validator(mode="after")
    def _check_content(self) -> Method:
        if not self.plugins and self.recipe is None:
            raise ValueError("names neither plugins nor a recipe")
        return self


class Study(Section):
    """Runs that are planned, done and reported together.

    Attributes:
        schema_version: Of this model.
        name: Equal to the file's name.
        summary: One line.
        caveats: What a reader of the numbers must know.
        protocols: By name, or by path relative to the study.
        methods: What is compared.
        seeds: Repeats of every method, as a list or as `0-9`; None means each protocol's own.
        folds: The same for folds.
        search: Look for good values of each method first, and run the seeds with those.
        save_embeddings: Keep the test embeddings of each run that is no trial.
        ensembles: Keep them, and score the models of all folds of a seed as one when the runs
            have ended.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    summary: str
    caveats: tuple[str, ...] = ()
    protocols: Annotated[tuple[str, ...], Field(min_length=1)]
    methods: Annotated[tuple[Method, ...], Field(min_length=1)]
    seeds: Numbers | None = None
    folds: Numbers | None = None
    search: SearchRule | None = None
    save_embeddings: bool = False
    ensembles: bool = False

    @model_validator(mode="after")
    def _check_search(self) -> Study:
        if self.search is None:
            if spaced := [method.name for method in self.methods if method.space]:
                raise ValueError(f"method {spaced[0]} has a space, but there is no search")
            return self
        refuse_overlap(self.search.seeds, self.seeds or ())
        return self

    @model_validator(mode="after")
    def _check_distinct(self) -> Study:
        given: dict[str, Counter[str | int]] = {
            "method": Counter(method.name for method in self.methods),
            "protocol": Counter(self.protocols),
            "seed": Counter(self.seeds or ()),
            "fold": Counter(self.folds or ()),
        }
        for what, counts in given.items():
            for name, count in counts.items():
                if count > 1:
                    raise ValueError(f"{what} {name} is given twice")
        return self

    def request(self, method: Method, *, smoke: bool = False) -> Request:
        """Return what a method asks to run, as the command line would put it."""
        return Request(
            plugins=method.plugins,
            settings=_assignments(method.params),
            deviations=_assignments(method.deviations),
            recipe=method.recipe,
            folds=self.folds,
            seeds=self.seeds,
            smoke=smoke,
        )


def searched(study: Study, rule: Mapping[str, Any]) -> Study:
    """Return a study with a search.

    Raises:
        HarnessError: A value of the rule does not fit, or does not go with the study's seeds.
    """
    content = {**study.model_dump(mode="json"), "search": dict(rule)}
    return validate(Study, Document("", content))


def refuse_overlap(search: Iterable[int], final: Iterable[int]) -> None:
    """Check that no seed is one that values were picked with.

    Raises:
        ValueError: One is.
    """
    for seed in sorted(set(search) & set(final)):
        raise ValueError(f"seed {seed} is one of search.seeds too; final runs need fresh ones")


def load(path: str | Path) -> Study:
    """Read a study from a file, or by its bare name from the folder `studies`.

    Raises:
        HarnessError: There is no such file, or it is not a study; one line per problem.
    """
    document = read(locate(Path(path)))
    study = validate(Study, document)
    stem = Path(document.source).stem
    if study.name != stem:
        raise HarnessError(
            f"{document.where(('name',))}name: {study.name!r} is not the file's name {stem!r}",
            hint="rename the file or the study",
        )
    return study


def dump(study: Study) -> str:
    """Return YAML that `load` reads back to an equal study."""
    content = study.model_dump(mode="json", exclude_defaults=True)
    return dump_yaml({"schema_version": study.schema_version, **content})


def locate(path: Path) -> Path:
    """Return the file that a path or a bare name means.

    Raises:
        HarnessError: There is none.
    """
    by_name = FOLDER / f"{path.name.removesuffix('.yaml')}.yaml"
    if path.is_file() or path.name != str(path):
        return path  # a missing one is left to the reader, which says so
    if by_name.is_file():
        return by_name
    known = {file.stem: str(file) for file in FOLDER.glob("*.yaml")}
    listed = f"there are {', '.join(sorted(known.values()))}" if known else "check the path"
    hint = did_you_mean(path.stem, known) or listed
    raise HarnessError(f"{path}: no such study file", hint=hint)


def protocols_of(study: Study, folder: Path) -> tuple[Protocol, ...]:
    """Read the protocols of a study that lies in `folder`.

    Raises:
        HarnessError: One of them is missing or wrong.
    """
    return tuple(
        protocols.load(name if Path(name).name == name else folder / name)
        for name in study.protocols
    )


def _assignments(values: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"{path}={canonical_json(value)}" for path, value in values.items())
