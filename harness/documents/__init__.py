"""YAML files and the models that check them; every error says where and what to type."""

from harness.documents.reading import (
    Document,
    KeyPath,
    Position,
    describe,
    parse,
    parse_value,
    read,
)
from harness.documents.validation import Problem, explain, keys_at, validate

__all__ = [
    "Document",
    "KeyPath",
    "Position",
    "Problem",
    "describe",
    "explain",
    "keys_at",
    "parse",
    "parse_value",
    "read",
    "validate",
]
