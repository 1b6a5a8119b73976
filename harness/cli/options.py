"""Options that several commands share, collected into one value per decorator."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import click

from harness.settings import SAMPLE_STORE, resolve

if TYPE_CHECKING:
    from harness.plan import Request

MOST_INDICES = 100_000

Action = Callable[..., int | None]


class Command(click.Command):
    """A command with `--debug`, which the outermost shell looks for."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's own signature
        """Add the option after the command's own."""
        super().__init__(*args, **kwargs)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                help="Show the traceback of an error.",
            )
        )


class Group(click.Group):
    """A group whose commands have `--debug` as well."""

    command_class = Command


command = functools.partial(click.command, cls=Command)
group = functools.partial(click.group, cls=Group)


class Indices(click.ParamType):
    """Whole numbers as `0-9`, `0,2` or `0-3,7`; `all` is None where that is allowed."""

    name = "numbers"

    def __init__(self, *, allow_all: bool = False) -> None:
        """Say whether `all` is a value."""
        self.allow_all = allow_all

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...] | None:
        """Read the text, refusing an empty range, a repeated number and a huge list."""
        if isinstance(value, tuple) or (self.allow_all and value == "all"):
            return cast("tuple[int, ...]", value) if value != "all" else None
        numbers: list[int] = []
        for word in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", word)
            if match is None:
                self.fail(f"{value!r} is not like 0-9 or 0,2", param, ctx)
            low, high = int(match[1]), int(match[2] or match[1])
            if low > high:
                self.fail(f"{word.strip()!r} counts down", param, ctx)
            if high - low >= MOST_INDICES:
                self.fail(f"{word.strip()!r} is more than {MOST_INDICES:,} numbers", param, ctx)
            numbers += range(low, high + 1)
        if len(set(numbers)) != len(numbers):
            self.fail(f"{value!r} names a number twice", param, ctx)
        return tuple(numbers)


SETTING_FLAGS: dict[str, Callable[[Any], Any]] = {
    "store": click.option("--store", metavar="DIR", help="Folder of the run store  [runs]"),
    "sample": click.option(
        "--sample", is_flag=True, help="Read the results that ship with the harness."
    ),
    "data": click.option("--data", metavar="DIR", help="Folder of the data sets  [data]"),
    "weights": click.option("--weights", metavar="DIR", help="Folder of downloaded weights."),
    "device": click.option("--device", metavar="NAME", help="auto, cpu, cuda or cuda:N  [auto]"),
    "workers": click.option(
        "--workers", metavar="N", help="Processes that decode images; 0 uses this one."
    ),
    "augment_on": click.option(
        "--augment-on",
        metavar="WHERE",
        help="What scales random crops: workers or device; same pixels.  [workers]",
    ),
    "backend": click.option(
        "--backend", metavar="NAME", help="What ranks: torch or faiss; same result.  [torch]"
    ),
    "memory": click.option(
        "--memory", metavar="SIZE", help="For a ranking, above the embeddings.  [1GiB]"
    ),
    "cache": click.option(
        "--cache", metavar="DIR", help="Folder of prepared pixels  [.cache in the data's]"
    ),
    "cache_cap": click.option(
        "--cache-cap", metavar="SIZE", help="Most that prepared pixels may take.  [32GiB]"
    ),
}


METHOD_FLAGS: list[Callable[[Any], Any]] = [
    click.option(
        "--plugin",
        "plugins",
        multiple=True,
        metavar="NAME",
        help="Component that the protocol leaves open; or kind:name, dist:name. Repeatable.",
    ),
    click.option(
        "--set",
        "settings_given",
        multiple=True,
        metavar="PATH=VALUE",
        help="Parameter or open field: loss.tau=24, training.epochs=40. Repeatable.",
    ),
    click.option(
        "--deviate",
        "deviations",
        multiple=True,
        metavar="PATH=VALUE",
        help="The same for a field that the protocol fixes; the run is marked. Repeatable.",
    ),
    click.option("--recipe", metavar="NAME", help="Published values for the open fields."),
]
REPEAT_FLAGS: list[Callable[[Any], Any]] = [
    click.option("--seeds", type=Indices(), metavar="LIST", help="Such as 0-9 or 0,2."),
    click.option(
        "--folds", type=Indices(allow_all=True), metavar="LIST", help="Such as all, 0,1."
    ),
    click.option("--smoke", is_flag=True, help="Rehearse in a minute; never on a leaderboard."),
]


def with_settings(*flags: str) -> Callable[[Action], Action]:
    """Pass `settings=`, resolved from the named flags and everything weaker than a flag."""

    def decorate(action: Action) -> Action:
        @functools.wraps(action)
        def resolved(*args: Any, **values: Any) -> int | None:  # noqa: ANN401
            given = {name: values.pop(name) for name in flags}
            if given.pop("sample", False):
                if given["store"] is not None:
                    raise click.UsageError("--sample and --store name two stores; give one")
                given["store"] = SAMPLE_STORE
            settings = resolve(given)
            logging.basicConfig(
                level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s"
            )
            return action(*args, settings=settings, **values)

        return _with_options(resolved, [SETTING_FLAGS[name] for name in flags])

    return decorate


def with_method(action: Action) -> Action:
    """Pass `request=`: components and values, from the options that say so."""

    @functools.wraps(action)
    def requested(*args: Any, **values: Any) -> int | None:  # noqa: ANN401
        from harness.plan import Request

        given = {name: values.pop(name) for name in ("plugins", "deviations", "recipe")}
        request = Request(settings=values.pop("settings_given"), **given)
        return action(*args, request=request, **values)

    return _with_options(requested, METHOD_FLAGS)


def with_request(action: Action) -> Action:
    """Pass `request=`: what is to be run, from the options that say so."""

    @functools.wraps(action)
    def requested(*args: Any, request: Request, **values: Any) -> int | None:  # noqa: ANN401
        repeats = {name: values.pop(name) for name in ("folds", "seeds", "smoke")}
        return action(*args, request=replace(request, **repeats), **values)

    return with_method(_with_options(requested, REPEAT_FLAGS))


def _with_options(action: Action, options: Sequence[Callable[[Action], Action]]) -> Action:
    """Apply decorators so that the help shows them in the order given."""
    for option in reversed(options):
        action = option(action)
    return action
