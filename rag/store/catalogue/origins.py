"""Origins: the root and the file that each document came from.

    roots     number, name, resolved path: a folder or single file that was given to an ingest
    origins   document, root, path of its file below the root ("" for the root itself)

A store made before there were any has neither table; they are made by the first ingest after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.catalogue.database import Catalogue, Connection
from hoptrail.rag.store.catalogue.writes import Placed, Span, writing
from hoptrail.rag.store.layout import disk_errors
from hoptrail.rag.store.locks import WriterLock
from hoptrail.rag.types import Origin

_TABLES = (
    "CREATE TABLE IF NOT EXISTS roots (root INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
    "path TEXT NOT NULL UNIQUE)",
    "CREATE TABLE IF NOT EXISTS origins (doc INTEGER PRIMARY KEY, root INTEGER NOT NULL, "
    "path TEXT NOT NULL)",
)
_EXISTS = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'origins'"
_USED = "EXISTS (SELECT 1 FROM origins o JOIN documents d ON d.doc = o.doc WHERE o.root = r.root)"
_PUT = "INSERT OR REPLACE INTO origins SELECT ?, root, ? FROM roots WHERE path = ?"


class OriginTable:
    """The origins of one tenant's documents; thread-safe as the store is."""

    def __init__(
        self, catalogue: Catalogue, lock: WriterLock, errors: disk_errors, *, wait: float
    ) -> None:
        """Use `Store.origins`. `wait`: seconds that a write waits for another writer."""
        self._catalogue = catalogue
        self._lock = lock
        self._errors = errors
        self._wait = wait

    def roots(self) -> dict[str, str]:
        """The names of the roots that have documents, by resolved path."""
        with self._reading() as connection:
            if not _exists(connection):
                return {}
            query = f"SELECT path, name FROM roots r WHERE {_USED}"
            return dict(connection.execute(query).fetchall())

    def all(self) -> dict[str, Origin]:
        """The origin of each document that has one, by document id."""
        with self._reading() as connection:
            if not _exists(connection):
                return {}
            lines = connection.execute(
                "SELECT d.id, r.path, o.path FROM documents d JOIN origins o ON o.doc = d.doc "
                "JOIN roots r ON r.root = o.root"
            )
            return {one: Origin(root=root, path=path) for one, root, path in lines}

    def register(self, added: Mapping[str, str], moved: Mapping[str, str]) -> None:
        """Records roots before their first document.

        Args:
            added: names by resolved path.
            moved: by a path that is recorded, the present path of that root.

        Raises:
            SettingsError: another process has just recorded another root of that name.
            StoreBusy, StoreFull: as for `Store.commit`; nothing is recorded.
        """
        if not added:
            return
        with self._lock.held(self._wait), self._reading() as connection, writing(connection):
            for statement in _TABLES:
                connection.execute(statement)
            for before, path in moved.items():
                connection.execute(
                    f"DELETE FROM roots AS r WHERE path = ? AND NOT {_USED}", (path,)
                )
                connection.execute("UPDATE roots SET path = ? WHERE path = ?", (path, before))
            for path, name in added.items():
                if path in moved.values():
                    continue
                connection.execute(
                    f"DELETE FROM roots AS r WHERE (name = ? OR path = ?) AND NOT {_USED}",
                    (name, path),
                )
                try:
                    connection.execute("INSERT INTO roots (name, path) VALUES (?, ?)", (name, path))
                except sqlite3.IntegrityError:
                    raise SettingsError(
                        f"Another process has just ingested another {name!r} than {path!r}. Give "
                        "this one a name of its own: --name NAME."
                    ) from None

    def assign(self, origins: Mapping[str, Origin]) -> None:
        """Records where documents that the store has already come from, by document id.

        No search sees a difference, so the store's generation stays.

        Raises:
            StoreBusy, StoreFull: as for `Store.commit`; nothing is recorded.
        """
        if not origins:
            return
        with self._lock.held(self._wait), self._reading() as connection, writing(connection):
            connection.executemany(
                "INSERT OR REPLACE INTO origins SELECT d.doc, r.root, ? FROM documents d "
                "JOIN roots r ON r.path = ? WHERE d.id = ?",
                [(origin.path, origin.root, one) for one, origin in origins.items()],
            )

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._errors, self._catalogue.reading() as connection:
            yield connection


def insert(connection: Connection, placed: Sequence[Placed]) -> None:
    """Records the origins of documents that are put; their roots are registered.

    Raises:
        SettingsError: a root is not registered (any more).
    """
    for one in placed:
        origin = one.item.origin
        if origin is None:
            continue
        if not connection.execute(_PUT, (one.doc, origin.path, origin.root)).rowcount:
            raise SettingsError(
                f"Another process has taken over the name of {origin.root!r}. Run the same again."
            )


def remove(connection: Connection, died: Sequence[Span]) -> None:
    """Deletes those of dead documents, of which each span begins with its number."""
    if _exists(connection):
        connection.executemany("DELETE FROM origins WHERE doc = ?", [(doc,) for doc, _ in died])


def _exists(connection: Connection) -> bool:
    return connection.execute(_EXISTS).fetchone() is not None
