from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.settings import READERS, resolve


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A project folder with a sub-folder, and a home of its own."""
    (tmp_path / "project" / "sub").mkdir(parents=True)
    (tmp_path / "home" / ".config" / "harness").mkdir(parents=True)
    return tmp_path


def resolved(machine: Path, *, flags=None, environ=None, cwd="project/sub"):
    environ = {"HOME": str(machine / "home"), **(environ or {})}
    return resolve(flags, environ=environ, cwd=machine / cwd)


def write_local(machine: Path, text: str) -> Path:
    file = machine / "project" / "harness.toml"
    file.write_text(text)
    return file


def write_user(machine: Path, text: str) -> Path:
    file = machine / "home" / ".config" / "harness" / "config.toml"
    file.write_text(text)
    return file


def test_without_anything_every_value_is_a_default(machine):
    settings = resolved(machine)

    assert settings.store == Path("runs")
    assert set(settings.sources) == set(READERS)
    assert set(settings.sources.values()) == {"default"}


def test_each_layer_wins_over_the_weaker_ones_and_is_named_as_the_source(machine):
    user = write_user(machine, 'store = "/user"\ndata = "/user"\ndevice = "cpu"\nworkers = 1\n')
    local = write_local(machine, 'data = "/local"\ndevice = "cuda"\nworkers = 2\n')

    settings = resolved(
        machine,
        environ={"HARNESS_DEVICE": "cuda:1", "HARNESS_WORKERS": "3"},
        flags={"workers": "4", "store": None},
    )

    assert (settings.store, settings.sources["store"]) == (Path("/user"), str(user))
    assert (settings.data, settings.sources["data"]) == (Path("/local"), str(local))
    assert (settings.device, settings.sources["device"]) == ("cuda:1", "HARNESS_DEVICE")
    assert (settings.workers, settings.sources["workers"]) == (4, "--workers")


def test_a_folder_in_a_file_is_relative_to_the_file(machine):
    write_local(machine, 'data = "images"\n')

    assert resolved(machine).data == machine / "project" / "images"


def test_the_nearest_file_hides_those_further_up(machine):
    write_local(machine, 'device = "cpu"\nworkers = 2\n')
    (machine / "project" / "sub" / "harness.toml").write_text('device = "cuda"\n')

    settings = resolved(machine)

    assert settings.device == "cuda"
    assert settings.workers is None


def test_config_home_of_the_desktop_standard_is_respected(machine):
    (machine / "xdg" / "harness").mkdir(parents=True)
    (machine / "xdg" / "harness" / "config.toml").write_text("offline = true\n")

    assert resolved(machine, environ={"XDG_CONFIG_HOME": str(machine / "xdg")}).offline


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param(None, None, id="unset-loads-all"),
        pytest.param("", (), id="empty-loads-none"),
        pytest.param("hist, harness-pml,", ("hist", "harness-pml"), id="list"),
    ],
)
def test_plugins_to_load_come_from_the_environment(machine, text, names):
    environ = {} if text is None else {"HARNESS_LOAD_PLUGINS": text}

    assert resolved(machine, environ=environ).load_plugins == names


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1GiB", 2**30),
        ("1.5 gib", 3 * 2**29),
        ("2GB", 2 * 10**9),
        ("2048KiB", 2**21),
        ("2097152", 2**21),
    ],
)
def test_sizes_have_units(machine, text, size):
    assert resolved(machine, environ={"HARNESS_MEMORY": text}).memory == size


def test_an_empty_variable_means_unset(machine):
    assert resolved(machine, environ={"HARNESS_STORE": ""}).store == Path("runs")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        pytest.param('stor = "x"', "unknown key 'stor'", id="unknown-key"),
        pytest.param("store = 3", "store must be a folder, not 3", id="wrong-type"),
        pytest.param("workers = -1", "workers must be a whole number", id="negative"),
        pytest.param("workers = true", "workers must be a whole number", id="truth-value"),
        pytest.param('memory = "1GiX"', "memory must be a size of at least 1MiB", id="unit"),
        pytest.param("memory = 4", "memory must be a size of at least 1MiB", id="no-unit"),
        pytest.param('memory = "-1GiB"', "memory must be a size", id="negative-size"),
        pytest.param("backend = 1", "backend must be the name of a component", id="backend"),
        pytest.param('device = "gpu"', "device must be auto, cpu, cuda", id="device"),
        pytest.param('log_level = "loud"', "log_level must be one of debug", id="level"),
        pytest.param("offline = 2", "offline must be true or false", id="switch"),
        pytest.param("load_plugins = 1", "load_plugins must be plugin names", id="names"),
        pytest.param("store = ", "Invalid value", id="not-toml"),
    ],
)
def test_a_wrong_file_is_one_message_that_names_it(machine, text, fragment):
    file = write_local(machine, text)

    with pytest.raises(HarnessError) as raised:
        resolved(machine)

    assert str(file) in raised.value.message
    assert fragment in raised.value.message
    assert "\n" not in raised.value.message


def test_an_unknown_key_gets_a_suggestion(machine):
    write_local(machine, 'stor = "x"')

    with pytest.raises(HarnessError) as raised:
        resolved(machine)

    assert raised.value.hint == "did you mean 'store'?"


def test_a_wrong_variable_is_named(machine):
    with pytest.raises(HarnessError, match=r"HARNESS_WORKERS: workers must be .*'many'"):
        resolved(machine, environ={"HARNESS_WORKERS": "many"})
