"""What can be wrong with a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "catalogue",
    "document",
    "passage",
    "vector",
    "facet",
    "orphan",
    "outbox",
    "lexical",
    "dense",
    "graph",
    "tree",
]
"""catalogue: SQLite's own check · document: it changed under its CRC · passage: not what the
document says at its offsets · vector: missing, or changed under its CRC · facet: not what the
metadata says · orphan: rows of no document · outbox: changes not yet applied · lexical, dense: the
index differs from the catalogue · graph: the links differ from what texts and triples say · tree:
its file cannot be read, or it is no tree over the passages that are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    kind: Kind
    what: str
    """For people; names the document if there is one."""
    repairable: bool
    """Whether `--repair` mends it; otherwise `what` says what to do."""
    document_id: str | None = None
