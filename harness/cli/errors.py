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
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return 2
    if debug and not isinstance(error, click.ClickException):
        traceback.print_exception(error)
    label, hint = "error", None
    match error:
        case HarnessError(message=message, hint=hint, exit_code=code):
            pass
        case click.UsageError():
            message, hint, code = _plain(error.format_message()), _usage_hint(error), 2
        case click.ClickException():
            message, code = _plain(error.format_message()), 2
        case click.Abort():
            message, code = "interrupted", 130
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            message, code = f"{where}{error.strerror or error}", 4
        case _:
            label, code = "internal error", 1
            message = f"{type(error).__name__}: {' '.join(str(error).split())}"
            hint = None if debug else "run again with --debug for the traceback, and report it"
    _say(message, hint, label=label)
    return code


def warn(message: str) -> None:
    """Print one line on stderr about something that does not stop the command."""
    _say(message, None, label="warning")


def _usage_hint(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx else "harness"
    return f"see: {path} --help"


def _plain(message: str) -> str:
    """Word click's sentence as ours: lower case, no full stop, on one line."""
    text = " ".join(message.split())
    text = text.removesuffix(".")
    return text[:1].lower() + text[1:]


def _say(message: str, hint: str | None, *, label: str) -> None:
    color = False if os.environ.get("NO_COLOR") else None
    mark = click.style(f"{label}:", fg="yellow" if label == "warning" else "red", bold=True)
    click.echo(f"{mark} {message}", err=True, color=color)
    if hint:
        click.echo(f"  {click.style('hint:', bold=True)} {hint}", err=True, color=color)
