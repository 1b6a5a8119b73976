"""Real distributions, built and installed for the test."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from shutil import which
from types import SimpleNamespace

import pytest

from harness import hookspecs
from harness.api import HarnessError, LossSpec, MinerSpec, hookimpl
from harness.registry import Origin, PluginReport, Registry, collect, discover
from harness.registry.discovery import KIND_OF_HOOK
from harness.specs import SPEC_OF_KIND

Install = Callable[..., Path]
HERE = Origin("somewhere", "1.0", "some", "some_module")


def build(params: object, context: object) -> None:
    raise NotImplementedError


def report_of(registry: Registry, entry_point: str, distribution: str) -> PluginReport:
    (report,) = (
        plugin
        for plugin in registry.plugins
        if (plugin.origin.entry_point, plugin.origin.distribution) == (entry_point, distribution)
    )
    return report


def test_a_third_party_adds_a_loss_a_miner_a_sampler_and_a_backbone(install: Install):
    site = install("acme")

    registry = discover()

    report = report_of(registry, "acme", "acme-dml")
    assert report.counts == {"loss": 1, "miner": 1, "sampler": 1, "backbone": 1}
    assert report.error is None
    assert report.origin == Origin("acme-dml", "2.1.0", "acme", "acme_dml")
    assert report.file == str(site / "acme_dml" / "__init__.py")
    assert registry.get("loss", "acme_triplet").qualified == "acme-dml:acme_triplet"


def test_a_failing_import_is_reported_and_stops_nobody_else(install: Install):
    install("broken_import", "acme")

    registry = discover()

    report = report_of(registry, "broken", "acme-broken")
    assert report.error == ("ModuleNotFoundError: No module named 'a_package_that_nobody_has'")
    assert "import a_package_that_nobody_has" in (report.traceback or "")
    assert registry.get("loss", "acme_triplet")


def test_an_unknown_name_points_at_plugins_that_failed(install: Install):
    install("broken_import")

    with pytest.raises(HarnessError, match="unknown loss 'xylophone'") as error:
        discover().get("loss", "xylophone")

    assert "plugins with problems: acme-broken:broken" in str(error.value.hint)


def test_two_entry_points_of_one_name_are_both_kept(install: Install):
    install("name_clash")

    origins = {str(plugin.origin) for plugin in discover().plugins}

    assert {"other-hist:hist", "harness-hist:hist"} <= origins


def test_two_cards_of_one_name_are_refused_by_short_name_alone(install: Install):
    install("name_clash")
    registry = discover()

    with pytest.raises(HarnessError, match="'hist' is ambiguous") as error:
        registry.get("loss", "hist")

    assert "loss of harness-hist:hist and loss of other-hist:hist" in error.value.message
    assert error.value.hint == "type harness-hist:hist or other-hist:hist"
    assert registry.get("loss", "other-hist:hist").card.summary == "A histogram loss"
    assert registry.get("loss", "harness_hist:hist").origin.distribution == "harness-hist"


def test_a_misspelt_hook_is_reported_with_the_near_name_and_the_rest_works(install: Install):
    install("misspelt_hook")

    registry = discover()

    report = report_of(registry, "misspelt", "acme-misspelt")
    assert "unknown hook 'harness_loses'; did you mean 'harness_losses'" in str(report.error)
    assert registry.get("miner", "spelt_right")


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        pytest.param(["acme"], {"acme-dml:acme", "dml-harness:core"}, id="entry-point"),
        pytest.param(["acme-dml"], {"acme-dml:acme", "dml-harness:core"}, id="distribution"),
        pytest.param([], {"dml-harness:core"}, id="none"),
    ],
)
def test_only_selected_plugins_are_loaded_next_to_the_core(
    install: Install, only: list[str], expected: set[str]
):
    install("acme", "broken_import")

    registry = discover(only=only)

    assert {str(plugin.origin) for plugin in registry.plugins} == expected


def test_selecting_a_plugin_that_is_not_installed_suggests_one(install: Install):
    install("acme")

    with pytest.raises(HarnessError, match="no plugin 'acne' is installed") as error:
        discover(only=["acne"])

    assert "'acme'" in str(error.value.hint)


def test_discovery_and_planning_import_nothing_heavy(install: Install):
    install("acme", "broken_import", "name_clash")
    program = """
import json, sys
from pathlib import Path
from harness import protocol, registry, plan
found = registry.discover()
digits = protocol.load(Path(sys.argv[1]))
runs = plan.make_plan(
    digits, found, plan.Request(plugins=("acme_triplet", "acme_every"), seeds=(0, 1))
)
heavy = {"torch", "numpy", "pyarrow", "duckdb", "torchvision", "sklearn", "scipy", "PIL"}
print(json.dumps([len(runs), sorted(heavy & set(sys.modules))]))
"""
    digits = Path(__file__).parents[2] / "protocols" / "digits.yaml"

    answer = subprocess.run(
        [sys.executable, "-c", program, str(digits)], capture_output=True, text=True, check=True
    )

    assert json.loads(answer.stdout) == [2, []]


@pytest.mark.slow
@pytest.mark.skipif(which("uv") is None, reason="uv is not on the path")
def test_a_plugin_installed_by_uv_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = Path(__file__).parents[1] / "plugins" / "acme"
    command = ["uv", "pip", "install", "--offline", "--no-deps", "--no-build-isolation", "--quiet"]
    subprocess.run(
        [*command, "--python", sys.executable, "--target", str(tmp_path), str(folder)], check=True
    )
    monkeypatch.syspath_prepend(tmp_path)

    names = {point.name for point in entry_points(group="harness")}

    assert "acme" in names


# --- what a plugin may do wrong ------------------------------------------------------------------


class Offers:
    """A plugin whose loss hook returns whatever it is given."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    @hookimpl
    def harness_losses(self) -> object:
        return self.answer


def loss(name: str, **changes: object) -> LossSpec:
    return LossSpec(**{"name": name, "summary": "A loss", "build": build, **changes})


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(loss("one"), "must return a list of cards, returned LossSpec", id="card"),
        pytest.param("hist", "must return a list of cards, returned str", id="text"),
        pytest.param(7, "must return a list of cards, returned int", id="number"),
        pytest.param(None, "must return a list of cards, returned NoneType", id="no-return"),
        pytest.param([7], "expected LossSpec, got int", id="no-card"),
        pytest.param(
            [MinerSpec(name="a", summary="", build=build)],
            "expected LossSpec, got MinerSpec",
            id="other-kind",
        ),
        pytest.param([loss("Big")], "name 'Big' must be lower-case", id="upper-case"),
        pytest.param([loss("a:b")], "name 'a:b' must be lower-case", id="colon"),
        pytest.param([loss("")], "name '' must be lower-case", id="empty"),
        pytest.param([loss(7)], "name 7 must be lower-case", id="name-is-number"),
        pytest.param([loss("a"), loss("a")], "a is registered twice", id="twice"),
        pytest.param([loss("a", params=dict)], "params must be a subclass of Params", id="params"),
        pytest.param([loss("a", build=None)], "build must be callable", id="build"),
    ],
)
def test_what_a_hook_returns_wrongly_is_reported(answer: object, problem: str):
    registry = collect([(HERE, lambda: Offers(answer))])

    assert problem in str(registry.plugins[0].error)


def test_good_cards_next_to_a_bad_one_are_kept():
    registry = collect([(HERE, lambda: Offers([loss("good"), 7]))])

    assert [entry.name for entry in registry.entries("loss")] == ["good"]
    assert registry.plugins[0].counts == {"loss": 1}


class HalfBroken:
    @hookimpl
    def harness_miners(self) -> list[MinerSpec]:
        raise OSError("no disk")

    @hookimpl
    def harness_losses(self) -> list[LossSpec]:
        return [loss("good")]


def test_a_hook_that_raises_leaves_the_other_hooks_of_its_plugin_alone():
    registry = collect([(HERE, HalfBroken)])

    assert registry.plugins[0].error == "OSError: no disk"
    assert registry.plugins[0].counts == {"loss": 1}


def broken_generator() -> Iterable[LossSpec]:
    yield loss("first")
    raise RuntimeError("broken in the middle\nwith details")


@pytest.mark.parametrize(
    ("load", "error"),
    [
        pytest.param(lambda: Offers(broken_generator()), "RuntimeError: broken in", id="hook"),
        pytest.param(lambda: sys.exit(3), "SystemExit: 3", id="exit-at-import"),
        pytest.param(lambda: {}["x"], "KeyError: 'x'", id="import"),
    ],
)
def test_whatever_a_plugin_raises_is_kept_with_its_traceback(
    load: Callable[[], object], error: str
):
    healthy = Origin("healthy", "1.0", "healthy", "healthy")

    registry = collect([(HERE, load), (healthy, lambda: Offers([loss("fine")]))])

    assert str(registry.plugins[0].error).startswith(error)
    assert "\n" not in str(registry.plugins[0].error)
    assert "Traceback" in str(registry.plugins[0].traceback)
    assert registry.get("loss", "fine")


def test_a_hook_without_the_marker_is_reported():
    module = SimpleNamespace(harness_losses=lambda: [loss("unmarked")])

    registry = collect([(HERE, lambda: module)])

    assert registry.plugins[0].error == "harness_losses is not marked with @hookimpl"


def test_a_hook_with_an_argument_is_reported():
    @hookimpl
    def harness_losses(manager: object) -> list[LossSpec]:
        return []

    registry = collect([(HERE, lambda: SimpleNamespace(harness_losses=harness_losses))])

    assert "harness_losses" in str(registry.plugins[0].error)


def test_hooks_and_kinds_agree_with_the_specifications():
    hooks = {name for name in vars(hookspecs) if name.startswith("harness_")}

    assert set(KIND_OF_HOOK) == hooks
    assert set(KIND_OF_HOOK.values()) == set(SPEC_OF_KIND)
