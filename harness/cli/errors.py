"""One wording for everything that goes wrong: `error: …`, then a hint that can be typed."""

from __future__ import annotations

import os
import traceback

import click

from harness.errors import HarnessError

EXIT_CODES = {
    0: "All asked runs finished.",
    1: "Some run failed, or an internal error.",
    2: "The command line, a protocol or a set-up is wrong.",
    3: "Finished, but some run deviates from its protocol.",
    4: "The store or a file could not be read or written.",
    130: "Interrupted.",
}


def exit_code_of(error: Exception, *, debug: bool) -> int:
    """Print an error on stderr and return the exit code that belongs to it."""
    if debug and not isinstance(error, click.ClickException):
        traceback.print_exception(error)
    match error:
        case HarnessError():
            return _say(error.message, error.hint, code=error.exit_code)
        case click.UsageError():
            return _say(_plain(error.format_message()), _usage_hint(error), code=2)
        case click.ClickException():
            return _say(_plain(error.format_message()), None, code=2)
        case click.Abort():
            return _say("interrupted", None, code=130)
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return _say(f"{where}{error.strerror or error}", None, code=4)
        case _:
            detail = " ".join(str(error).split())
            hint = None if debug else "run again with --debug for the traceback, and report it"
            return _say(f"{type(error).__name__}: {detail}", hint, code=1, label="internal error")


def warn(message: str) -> None:
    """Print one line on stderr about something that does not stop the command."""
    _say(message, None, code=0, label="warning")


def _usage_hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "harness"
    return f"see: {path} --help"


def _plain(message: str) -> str:
    """Word click's sentence as ours: lower case, no full stop, on one line."""
    text = " ".join(message.split())
    text = text.removesuffix(".")
    return text[:1].lower() + text[1:]


def _say(message: str, hint: str | None, *, code: int, label: str = "error") -> int:
    color = False if os.environ.get("NO_COLOR") else None
    mark = click.style(f"{label}:", fg="yellow" if label == "warning" else "red", bold=True)
    click.echo(f"{mark} {message}", err=True, color=color)
    if hint:
        click.echo(f"  {click.style('hint:', bold=True)} {hint}", err=True, color=color)
    return code
