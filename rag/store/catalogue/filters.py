"""Metadata equality filters: one token a key and value, the same in every index.

A token is a hash, so that it is short, needs no escaping, and means the same to Tantivy, Chroma and
SQLite. Types do not mix: True, 1 and "1" are three values; 1 and 1.0 are one number (JSON does not
tell them apart).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.types import Scalar, Where


def filter_token(key: str, value: Scalar) -> str:
    """The filter token (32 hex digits) of one key and value.

    Raises:
        SettingsError: a value that is no finite scalar, or a key that is no string.
    """
    if not isinstance(key, str):
        raise SettingsError(f"A metadata key must be a string, not {key!r}.")
    return hashlib.blake2b(f"{key}\0{_typed(key, value)}".encode(), digest_size=16).hexdigest()


def filter_tokens(where: Where | Mapping[str, Scalar]) -> tuple[str, ...]:
    """The filter tokens of a filter or of a document's metadata, sorted."""
    if not where:
        return ()
    return tuple(sorted(filter_token(key, value) for key, value in where.items()))


def _typed(key: str, value: Scalar) -> str:
    if isinstance(value, bool):
        return f"bool:{value}"
    if isinstance(value, int):
        return f"number:{value}"
    if isinstance(value, float) and math.isfinite(value):
        return f"number:{int(value) if value.is_integer() else value!r}"
    if isinstance(value, str):
        return f"text:{value}"
    raise SettingsError(
        f"Metadata {key!r} is {value!r}: a value must be a string, a finite number, true or false."
    )
