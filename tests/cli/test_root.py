import subprocess
import sys

import pytest

from harness.cli.errors import EXIT_CODES
from harness.cli.root import COMMANDS, root

HEAVY = ("torch", "torchvision", "numpy", "pyarrow", "duckdb", "optuna", "sklearn", "scipy")


def modules_after(*words: str) -> set[str]:
    """Run a command line in a fresh interpreter and return the top-level modules it imported."""
    code = (
        "import sys; from harness.cli import main; code = main(sys.argv[1:]);"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--help",), id="help"),
        pytest.param(("run", "--help"), id="run-help"),
        pytest.param(("plugins",), id="plugins"),
        pytest.param(("show", "loss", "hist"), id="show"),
        pytest.param(("recipes", "hist/cub_resnet50"), id="recipes"),
        pytest.param(("protocol", "validate", "protocols/digits.yaml"), id="protocol"),
    ],
)
def test_a_command_that_computes_nothing_imports_nothing_heavy(words):
    assert not modules_after(*words) & set(HEAVY)


def test_help_does_not_even_import_the_library():
    imported = modules_after("--help")

    assert not imported & {"pydantic", "pluggy", "yaml", "rich", *HEAVY}


def test_the_one_line_of_each_command_is_the_first_line_of_its_help():
    for name, (_, line) in COMMANDS.items():
        command = root.get_command(None, name)  # pyright: ignore[reportArgumentType]
        assert command.name == name
        assert command.get_short_help_str(limit=200) == line.removesuffix(".") + "."


def test_help_lists_every_command_and_exit_code(harness):
    ended = harness("--help")

    assert ended.code == 0
    assert all(f"  {name} " in ended.out for name in COMMANDS)
    assert all(line in ended.out for line in EXIT_CODES.values())


def test_without_a_command_the_help_is_on_stderr_and_the_code_says_misuse(harness):
    ended = harness()

    assert (ended.code, ended.out) == (2, "")
    assert "Usage: harness" in ended.err


def test_version_is_that_of_the_distribution(harness):
    assert harness("--version").out.startswith("harness ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_calls_back(harness, shell):
    assert "_HARNESS_COMPLETE" in harness("completion", shell).out


def test_a_reader_that_stops_listening_is_no_error():
    command = (
        f"{sys.executable} -c 'from harness.cli import main; main()' protocol schema | head -1"
    )
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60
    )

    assert (done.stdout, done.stderr) == ("{\n", "")


def test_an_internal_error_is_one_line_and_the_traceback_only_on_demand(harness, monkeypatch):
    # a defect of ours, made on the spot: the table of commands points to nowhere
    monkeypatch.setitem(COMMANDS, "doctor", ("harness.cli.doctor:nothing", "…"))

    short, long = harness("doctor"), harness("doctor", "--debug")

    assert short.code == long.code == 1
    assert short.err.startswith("internal error: AttributeError: ")
    assert "--debug" in short.err
    assert "Traceback" not in short.err
    assert "Traceback" in long.err
