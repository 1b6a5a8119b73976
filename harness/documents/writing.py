"""Plain data -> YAML that our reader reads back unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.documents.reading import reads_as_text


def dump_yaml(data: Mapping[str, Any]) -> str:
    """Return YAML text with keys in the given order.

    Text that an unquoted reading would turn into something else (`1e-4`, `no`) is quoted.
    """
    import yaml

    class Dumper(yaml.SafeDumper):
        """Knows our scalars, and writes every value out where it stands."""

        def ignore_aliases(self, data: object) -> bool:
            del data
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = None if reads_as_text(value) and value.isprintable() else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(dict(data), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=99)
