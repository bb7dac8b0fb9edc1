"""Why a metadata filter keeps no document: the keys and values that are nearest to it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from hoptrail.rag.store.catalogue.filters import filter_token
from hoptrail.rag.types import Scalar, Where

_LOOKED_AT = 2_000
"""Keys, or values of one key, that are compared: the most frequent ones."""
_NAMED = 5
_LONGEST = 60

_PAIRS = "FROM documents d, json_each(d.metadata) j WHERE json_valid(d.metadata)"
_KEYS = f"SELECT j.key {_PAIRS} GROUP BY j.key ORDER BY count(*) DESC, j.key LIMIT {_LOOKED_AT}"
_VALUES = (
    f"SELECT j.type, j.value {_PAIRS} AND j.key = ? GROUP BY j.type, j.value "
    f"ORDER BY count(*) DESC, j.value LIMIT {_LOOKED_AT}"
)
_MET = "SELECT 1 FROM facets WHERE facet = ? LIMIT 1"


def why_unmatched(connection: sqlite3.Connection, where: Where) -> str:
    """The reason in words, for a filter that keeps no document."""
    unmet = {
        key: value
        for key, value in where.items()
        if connection.execute(_MET, (filter_token(key, value),)).fetchone() is None
    }
    if not unmet:
        return "each condition is met by some document, but none meets all of them"
    return "; ".join(_reasons(connection, unmet))


def _reasons(connection: sqlite3.Connection, unmet: Where) -> Iterator[str]:
    keys = [key for (key,) in connection.execute(_KEYS)]
    for key, value in unmet.items():
        if key in keys:
            values = [_scalar(*line) for line in connection.execute(_VALUES, (key,))]
            there = ", ".join(f"{key}={_spelt(one)}" for one in _nearest(value, values))
            yield f"no document has {key}={_spelt(value)}, but there is {there}"
        elif keys:
            near = get_close_matches(key, keys, n=1, cutoff=0.5)
            known = ", ".join(keys[:_NAMED])
            remedy = f"did you mean {near[0]!r}?" if near else f"there are {known}"
            yield f"no document has the key {key!r}: {remedy}"
        else:
            yield f"no document has the key {key!r}, or any metadata"


def _nearest(value: Scalar, there: Sequence[Scalar]) -> list[Scalar]:
    """The values that look most like one: first those that differ in type alone."""
    wanted = str(value).casefold()
    same = [one for one in there if str(one).casefold() == wanted]
    close = get_close_matches(wanted, {str(one).casefold() for one in there}, n=_NAMED)
    near = [one for one in there if str(one).casefold() in close]
    return (same or near or list(there))[:_NAMED]


def _scalar(kind: str, value: str | float) -> Scalar:
    return kind == "true" if kind in ("true", "false") else value


def _spelt(value: Scalar) -> str:
    """A value as a filter spells it: texts in quotes."""
    spelt = json.dumps(value, ensure_ascii=False)
    return spelt if len(spelt) <= _LONGEST else spelt[:_LONGEST] + "…"
