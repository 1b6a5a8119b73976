"""Every command of docs/coming_from.md plans as it stands, and runs as a rehearsal.

The rehearsals run on generated data in the official layouts, with images of 32 pixels, batches of
two classes and a small backbone, all marked as deviations. `slow` are those that are nobody's
headline, and the headlines with their real backbones.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.plan import Request, Run, make_plan
from harness.protocol import load
from harness.registry import discover
from harness.testing.toys import write_cars, write_cub, write_inshop, write_sop

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coming_from.md").read_text()
COMMANDS = re.findall(r"^    (harness run .*)$", PAGE, re.MULTILINE)
REGISTRY = discover()
SIDE = 32
FINISHED_WITH_DEVIATIONS = 3


HEADLINES = [
    next(command for command in COMMANDS if word in command)
    for word in (
        "hist/",
        "proxy_anchor/",
        "proxy_isa/cars",
        "dr_triplet/",
        "rdml_margin/",
        "hier/",
        "hyp/",
    )
]
REHEARSED = [
    pytest.param(command, marks=() if command in HEADLINES else pytest.mark.slow)
    for command in COMMANDS
]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with small copies of all four data sets."""
    folder = tmp_path_factory.mktemp("official")
    size = (40, 32)
    write_cub(folder, classes=16, images_per_class=4, size=size)
    write_cars(folder, classes=16, images_per_class=4, size=size)
    write_sop(folder, classes=(8, 8), images_per_class=4, size=size)
    write_inshop(folder, classes=(8, 8), images_per_class=4, size=size)
    return folder


def planned(command: str) -> Run:
    """Return the first run of a command without options other than these."""
    words = shlex.split(command)[2:]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    many = {
        kind: tuple(v for o, v in zip(words[1::2], words[2::2], strict=True) if o == f"--{kind}")
        for kind in ("plugin", "set")
    }
    request = Request(plugins=many["plugin"], settings=many["set"], recipe=options.get("--recipe"))
    return make_plan(load(ROOT / "protocols" / f"{words[0]}.yaml"), REGISTRY, request)[0]


def shrunk(run: Run, *, backbone: str | None) -> list[str]:
    """Return options that make a run small, each a marked deviation where it must be one."""
    steps = {
        f"transforms.{part}.{index}.size": SIDE
        for part in ("train", "eval")
        for index, step in enumerate(getattr(run.protocol.transforms, part))
        if hasattr(step, "size")
    }
    m = getattr(run.sampler.params, "m", 4)
    values: dict[str, object] = {**steps, "training.batch_size": 2 * m}
    if backbone is not None:
        values["backbone.name"] = backbone
    return [word for path, v in values.items() for word in ("--deviate", f"{path}={v}")]


def test_all_five_code_bases_are_there():
    protocols = {command.split()[2].partition("_")[0] for command in COMMANDS}
    methods = {planned(command).loss.card.name.partition("_")[0] for command in COMMANDS}

    assert protocols == {"conventional", "rdml"}
    assert methods == {"hist", "proxy", "dr", "rdml", "hier", "hyp"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_breaks_no_protocol(command: str):
    run = planned(command)

    assert run.deviations == ()


def rehearse(harness, data: Path, command: str, more: Sequence[str]) -> dict[str, object]:
    """Run a command as a rehearsal and return what its last line says."""
    ended = harness(*shlex.split(command)[1:], *more, "--smoke", "--data", data, "--json")

    assert ended.out, ended.err
    return json.loads(ended.out.splitlines()[-1])


@pytest.mark.parametrize("command", REHEARSED)
def test_a_command_of_the_page_rehearses_in_seconds(harness, data: Path, command: str):
    more = shrunk(planned(command), backbone="conv4_rgb")

    last = rehearse(harness, data, command, more)

    assert (last["finished"], last["exit_code"]) == (1, FINISHED_WITH_DEVIATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("command", HEADLINES)
def test_a_headline_rehearses_with_its_own_backbone(harness, data: Path, command: str):
    last = rehearse(harness, data, command, shrunk(planned(command), backbone=None))

    assert (last["finished"], last["exit_code"]) == (1, FINISHED_WITH_DEVIATIONS)
