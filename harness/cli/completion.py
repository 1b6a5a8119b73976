"""`harness completion`: a script for the shell to read."""

from __future__ import annotations

import click

from harness.cli.options import command


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell completion script.

    \b
    bash   eval "$(harness completion bash)"              in ~/.bashrc
    zsh    eval "$(harness completion zsh)"               in ~/.zshrc
    fish   harness completion fish | source               in ~/.config/fish/config.fish
    """  # noqa: D301 - click reads \b as "keep these line breaks"
    from click.shell_completion import get_completion_class

    from harness.cli.root import PROGRAM, root

    script = get_completion_class(shell)
    assert script is not None, shell
    click.echo(script(root, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE").source())
