"""The `harness` command: knows its sub-commands by name, imports the one that is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import cast

import click

from harness.cli.errors import EXIT_CODES, exit_code_of
from harness.errors import did_you_mean

PROGRAM = "harness"

# section -> command -> (where it lives, one line); a test compares the lines with the commands
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Run": {
        "run": ("harness.cli.run:run", "Train and test a method under a protocol."),
        "plan": ("harness.cli.run:plan", "List the runs a command would do, and do none."),
        "study": (
            "harness.cli.study:study",
            "Plan, do and follow many runs that belong together.",
        ),
        "worker": (
            "harness.cli.study:worker",
            "Do a part of a study, under any scheduler; several workers may share one.",
        ),
        "tune": (
            "harness.cli.tune:tune",
            "Search good values for methods, then run them with those.",
        ),
        "protocol": ("harness.cli.protocol:protocol", "Show, validate and compare protocols."),
    },
    "Results": {
        "evaluate": ("harness.cli.evaluate:evaluate", "Compute the metrics of saved embeddings."),
        "leaderboard": ("harness.cli.results:leaderboard", "Rank the methods of a protocol."),
        "ensemble": (
            "harness.cli.ensemble:ensemble",
            "Score the models of all folds as one, from saved embeddings.",
        ),
        "compare": ("harness.cli.compare:compare", "Test whether two methods differ."),
        "runs": ("harness.cli.results:runs", "List attempted runs, newest first."),
        "log": ("harness.cli.results:log", "Show the facts and the curve of one run."),
        "store": ("harness.cli.store:store", "Look after the folder of results."),
        "query": ("harness.cli.results:query", "Answer SQL over the stored results."),
    },
    "Components": {
        "plugins": ("harness.cli.plugins:plugins", "List installed plugins and their components."),
        "plugin": ("harness.cli.plugin:plugin", "List, check, replay and start plugins."),
        "recipes": (
            "harness.cli.recipes:recipes",
            "List published settings, or show one in full.",
        ),
        "show": ("harness.cli.plugins:show", "Describe one component and its parameters."),
    },
    "This machine": {
        "data": ("harness.cli.data:data", "List, fetch, verify, cache and show data sets."),
        "weights": ("harness.cli.weights:weights", "List and fetch published weights."),
        "doctor": ("harness.cli.doctor:doctor", "Report environment, plugins, data and store."),
        "completion": ("harness.cli.completion:completion", "Print a shell completion script."),
    },
}
COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Root(click.Group):
    """A group that imports a sub-command only when it is used, and words every error."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order in which the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a sub-command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest near names for a command that does not exist."""
        name = args[0]
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        near = did_you_mean(name, COMMANDS)
        raise click.UsageError(f"no such command {name!r}" + (f"; {near}" if near else ""), ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the commands by section, from the table alone."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, line) for name, (_, line) in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the table of exit codes."""
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in EXIT_CODES.items()])


def _show_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    if not value:
        return
    from importlib.metadata import version

    click.echo(f"harness {version('dml-harness')}")
    ctx.exit()


@click.group(
    cls=Root,
    no_args_is_help=False,
    invoke_without_command=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "color": False if os.environ.get("NO_COLOR") else None,
    },
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
@click.pass_context
def root(ctx: click.Context) -> int:
    """Benchmark deep metric learning: fixed protocols, plugins, Parquet rows, SQL answers.

    \b
    harness run protocols/digits.yaml --plugin hist
    harness leaderboard digits
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return 0


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; whatever goes wrong is worded here.

    Args:
        args: Words after the program's name; None takes them from the process.
    """
    # pydantic would look through every installed distribution for plugins of its own: 50 ms
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # OpenMP threads of torch that spin while they wait for one another train five times slower
    # as soon as anything else runs on the machine; sleeping ones lose nothing when it is quiet.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    words = list(sys.argv[1:] if args is None else args)
    try:
        code = root.main(words, prog_name=PROGRAM, standalone_mode=False)
    except Exception as error:  # noqa: BLE001 - the outermost shell
        return exit_code_of(error, debug="--debug" in words)
    return code if isinstance(code, int) else 0
