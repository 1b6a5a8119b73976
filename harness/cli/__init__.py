"""The command line: thin commands over the library."""

from harness.cli.root import main

__all__ = ["main"]
