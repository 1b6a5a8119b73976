"""YAML files and the models that check them; every error says where and what to type."""

from harness.documents.canonical import canonical_json, digest_of
from harness.documents.reading import (
    Document,
    KeyPath,
    Position,
    describe,
    parse,
    parse_value,
    read,
)
from harness.documents.validation import keys_at, validate
from harness.documents.writing import dump_yaml

__all__ = [
    "Document",
    "KeyPath",
    "Position",
    "canonical_json",
    "describe",
    "digest_of",
    "dump_yaml",
    "keys_at",
    "parse",
    "parse_value",
    "read",
    "validate",
]
