"""Storage of the tree: one SQLite file (WAL, synchronous=FULL) beside the catalogue.

    meta     format, the tree's and the store's generation, how it was made
    nodes    number, text, counts; children, rows and total as little-endian blobs
    drafts   replies of a model during a build, by the hash of the request
    checks   CRC-32 of each node and of meta; a file of an earlier version has none

Every change is one transaction: a reader sees one generation whole, and a writer that is killed
leaves the one before. An update names the generation that it started from, so that it is not
written over a tree that was built in the meantime.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace

from hoptrail.rag.errors import StoreDamaged, TreeMismatch, TreeMissing
from hoptrail.rag.store.catalogue.sqlite_file import address
from hoptrail.rag.store.layout import Layout, disk_errors
from hoptrail.rag.store.locks import OwnedLock
from hoptrail.rag.tree.checksums import (
    SCHEMA,
    has_checksums,
    remove_checksums,
    seal_nodes,
    settings_intact,
    verify_nodes,
)
from hoptrail.rag.tree.node_records import records_of, spec_of, tree_of
from hoptrail.rag.tree.types import Tree, TreeChange, TreeSpec

FORMAT = 1
"""Version of the file format; another one is refused."""

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS nodes (number INTEGER PRIMARY KEY, text TEXT NOT NULL, "
    "count INTEGER NOT NULL, changed INTEGER NOT NULL, children BLOB NOT NULL, "
    "rows BLOB NOT NULL, total BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS drafts (key TEXT PRIMARY KEY, reply TEXT NOT NULL) WITHOUT ROWID",
    SCHEMA,
)
_INSERT = "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?)"
_BUSY_SECONDS = 10.0


class TreeFile:
    """A tenant's tree file; thread-safe, each call has a connection of its own."""

    def __init__(self, layout: Layout) -> None:
        """Binds an existing store's layout, `Layout(root=store.root, tenant=store.tenant)`."""
        self.path = layout.tree
        self._store = str(layout.root)
        self._lock = OwnedLock(layout.folder, "tree")

    @contextmanager
    def building(self, wait: float = 0.0) -> Iterator[None]:
        """Holds the lock of a build; other processes can still read and update the tree.

        Raises:
            StoreBusy: another process held it for `wait` seconds; the message names it.
        """
        with disk_errors(self.path):
            self._lock.acquire(wait)
        try:
            yield
        finally:
            self._lock.release()

    def exists(self) -> bool:
        """Whether there is a tree; drafts alone do not count."""
        return self.generation() > 0

    def generation(self) -> int:
        """Number of the tree's newest commit; 0 if there is no tree.

        Raises:
            TreeMismatch: a tree of another format.
            StoreDamaged: the file cannot be read.
        """
        with self._reading() as connection:
            return 0 if connection is None else int(_meta(connection).get("generation", 0))

    def load(self) -> Tree:
        """The tree of the newest commit.

        Raises:
            TreeMissing: there is no tree.
            TreeMismatch: it has another format.
            StoreDamaged: the file cannot be read, or is inconsistent.
        """
        with self._reading() as connection:
            if connection is not None:
                meta = _meta(connection)
                if meta:
                    records = connection.execute("SELECT * FROM nodes ORDER BY number").fetchall()
                    verify_nodes(connection, meta, records)
                    return tree_of(meta, records)
        raise TreeMissing(
            f"The store at {self._store!r} has no tree. Make one: "
            f"hoptrail tree build --store {self._store}"
        )

    def spec(self) -> TreeSpec | None:
        """How the tree was made, whatever its nodes are; None if that cannot be told."""
        try:
            with self._reading() as connection:
                meta = {} if connection is None else _meta(connection)
                if connection is None or not settings_intact(connection, meta):
                    return None
                return spec_of(meta)
        except (StoreDamaged, TreeMismatch, KeyError, ValueError):
            return None

    def save(self, tree: Tree) -> Tree:
        """Saves a new tree in place of the one before, if there was one.

        Saving a tree whose texts are by a model deletes the drafts.

        Returns:
            The tree with its new generation: one more than the one before.

        Raises:
            StoreBusy, StoreFull: as for `Store.commit`; the tree before is still there.
        """
        with self._writing() as connection:
            before = int(_meta(connection).get("generation", 0))
            kept = replace(tree, generation=max(before + 1, tree.generation))
            connection.execute("DELETE FROM nodes")
            connection.executemany(_INSERT, records_of(kept, kept.nodes))
            _set_meta(connection, kept)
            connection.execute("DELETE FROM checks")
            seal_nodes(connection, _meta(connection), records_of(kept, kept.nodes))
            if kept.spec.model:
                connection.execute("DELETE FROM drafts")
            return kept

    def grow(self, change: TreeChange) -> bool:
        """Saves the changed nodes of an update.

        Returns:
            Whether it was saved; False if the file has another generation than the update's base.

        Raises:
            StoreBusy, StoreFull: as for `save`.
        """
        with self._writing() as connection:
            if int(_meta(connection).get("generation", 0)) != change.before:
                return False
            connection.executemany(
                "DELETE FROM nodes WHERE number = ?", [(one,) for one in sorted(change.gone)]
            )
            connection.executemany(_INSERT, records_of(change.tree, sorted(change.touched)))
            _set_meta(connection, change.tree)
            # A file of an earlier version gains all checksums with its first change.
            touched = change.touched if has_checksums(connection) else change.tree.nodes
            remove_checksums(connection, change.gone)
            seal_nodes(connection, _meta(connection), records_of(change.tree, sorted(touched)))
            return True

    def delete(self) -> None:
        """Deletes tree and drafts, if there are any.

        Raises:
            StoreBusy: another process builds a tree.
        """
        with self.building(), disk_errors(self.path):
            for end in ("-wal", "-shm", ""):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)

    def drafts(self, keys: Iterable[str]) -> dict[str, str]:
        """By key: the replies that builds since the last completed one kept."""
        with self._reading() as connection:
            if connection is None:
                return {}
            one = "SELECT key, reply FROM drafts WHERE key = ?"
            found = (connection.execute(one, (key,)).fetchone() for key in keys)
            return dict(pair for pair in found if pair is not None)

    def keep_drafts(self, replies: Mapping[str, str]) -> None:
        """Saves replies by key, for a build that may be interrupted.

        Raises:
            StoreBusy, StoreFull: as for `save`.
        """
        with self._writing() as connection:
            connection.executemany("INSERT OR REPLACE INTO drafts VALUES (?, ?)", replies.items())

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """A read transaction; None if there is no file or nothing was ever committed to it."""
        with self._errors():
            if not self.path.exists():
                yield None
                return
            connection = self._connect()
            try:
                connection.execute("BEGIN")
                made = connection.execute(
                    "SELECT 1 FROM sqlite_master WHERE name = 'meta'"
                ).fetchone()
                yield connection if made else None
            finally:
                connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction, committed at the end or rolled back."""
        with self._errors():
            connection = self._connect()
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    connection.execute(statement)
                yield connection
                connection.execute("COMMIT")
            finally:
                # Closing rolls back what was not committed.
                connection.close()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            address(self.path), uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """As `disk_errors`, but for a damaged tree file, which can be built again."""
        try:
            with disk_errors(self.path):
                yield
        except (StoreDamaged, UnicodeDecodeError) as error:
            # The latter: SQLite's own message quotes the bytes that it cannot read.
            why = error.__cause__ if isinstance(error.__cause__, sqlite3.Error) else error
            raise StoreDamaged(
                f"The tree {str(self.path)!r} cannot be read ({why}). The documents are not "
                f"affected. Remove it and build it again: hoptrail tree drop --store "
                f"{self._store}, then hoptrail tree build --store {self._store}"
            ) from error


def _meta(connection: sqlite3.Connection) -> dict[str, str | int]:
    """The meta table as a dictionary; empty if there is no tree."""
    values: dict[str, str | int] = dict(connection.execute("SELECT key, value FROM meta"))
    if values and values.get("format") != FORMAT:
        raise TreeMismatch(
            f"The tree has format {values.get('format')!r}; this version reads {FORMAT}. Remove it "
            "with hoptrail tree drop and build it again with hoptrail tree build, or use the "
            "version that made it."
        )
    return values


def _set_meta(connection: sqlite3.Connection, tree: Tree) -> None:
    values = {
        "format": FORMAT,
        "generation": tree.generation,
        "reflects": tree.reflects,
        "given": tree.fresh,
        **asdict(tree.spec),
    }
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())
