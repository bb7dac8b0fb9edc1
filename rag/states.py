"""A generation as arrays in memory: read whole from the catalogue, or caught up from its log.

Call both functions inside one transaction: what they read must belong to one generation.
"""

from __future__ import annotations

import sqlite3

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.catalogue import expanded, meta
from hoptrail.rag.journal import KEPT_GENERATIONS
from hoptrail.rag.scope import State


def loaded(connection: sqlite3.Connection) -> State:
    """The present generation, from the documents themselves."""
    spans = connection.execute("SELECT doc, rows FROM documents WHERE rows > 0").fetchall()
    rows = expanded(spans)
    live = np.zeros(int(rows.max()) + 1 if len(rows) else 0, dtype=np.bool_)
    live[rows] = True
    return _state(connection, live)


def advanced(connection: sqlite3.Connection, state: State) -> State:
    """The present generation, from an earlier one; the same object if nothing has changed."""
    values = meta(connection)
    behind = int(values["generation"]) - state.generation
    epochs = (values["lexical_epoch"], values["dense_epoch"])
    if behind == 0 and epochs == (state.lexical_epoch, state.dense_epoch):
        return state
    if not 0 <= behind < KEPT_GENERATIONS:
        return loaded(connection)
    changes = connection.execute(
        "SELECT first, rows, alive FROM log WHERE generation > ? ORDER BY generation, alive",
        (state.generation,),
    ).fetchall()
    size = max((first + rows for first, rows, alive in changes if alive), default=0)
    live = np.zeros(max(size, len(state.live)), dtype=np.bool_)
    live[: len(state.live)] = state.live
    for first, rows, alive in changes:
        live[first : first + rows] = bool(alive)
    return _state(connection, live)


def _state(connection: sqlite3.Connection, live: NDArray[np.bool_]) -> State:
    values = meta(connection)
    garbage: int = connection.execute("SELECT coalesce(sum(rows), 0) FROM garbage").fetchone()[0]
    return State(
        generation=int(values["generation"]),
        live=live,
        passages=int(np.count_nonzero(live)),
        garbage=garbage,
        lexical_epoch=int(values["lexical_epoch"]),
        dense_epoch=int(values["dense_epoch"]),
    )
