"""One spelling for equal values, so that a hash of it identifies content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any


def canonical_json(value: object) -> str:
    """Return JSON that is equal for equal content.

    Keys are sorted, whitespace is dropped, tuples are lists, and a whole number is written the
    same whether it was given as `32` or `32.0`.

    >>> canonical_json({"b": 32.0, "a": (True, None)})
    '{"a":[true,null],"b":32}'
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def digest_of(value: object) -> str:
    """Return the SHA-256 of canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _plain(value: Any) -> object:  # noqa: ANN401 - any JSON value
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
