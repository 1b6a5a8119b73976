"""Entry points -> a frozen registry of cards."""

from harness.registry.discovery import collect, discover
from harness.registry.lookup import Entry, Origin, PluginReport, Registry, check_kind, params

__all__ = [
    "Entry",
    "Origin",
    "PluginReport",
    "Registry",
    "check_kind",
    "collect",
    "discover",
    "params",
]
