"""What the store holds when an ingest begins: fingerprints, origins, and whose each id is.

A document belongs to the root that it came from, and another root does not overwrite it. One that
was stored before origins were recorded (or put by a program) belongs to none: it is adopted by the
first file or record that has its id, or whose path ends with its id, and agrees with its text.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from hoptrail.rag.ingest.discovery import FoundFiles
from hoptrail.rag.ingest.files import Format, SourceFile
from hoptrail.rag.ingest.roots import Roots, full_path, lies_in, resolved
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Document, Origin

_SHARE = 0.9
"""Least share of their distinct words that two readings of one HTML or PDF file have in common:
a newer parser reads the same file a little differently."""


class StoredDocuments:
    """The store's documents by id, and those of them that a run adopts."""

    def __init__(self, store: Store, roots: Roots, *, take_over: bool) -> None:
        """`take_over`: documents of other roots may be overwritten."""
        self.fingerprints = store.fingerprints()
        self.origins = {one: roots.present(origin) for one, origin in store.origins.all().items()}
        self.adopted: set[str] = set()
        self._store, self._take_over = store, take_over
        self._without_origin = self.fingerprints.keys() - self.origins.keys()
        self._differing: set[str] = set()

    def ids(self) -> dict[Origin, str]:
        """The id of each file's document."""
        return {origin: one for one, origin in self.origins.items()}

    def left_behind(self) -> tuple[str, ...]:
        """Documents without an origin whose id fits a file of another text, which keeps both."""
        return tuple(sorted(self._differing - self.adopted))

    def below(self, paths: Sequence[Path]) -> set[str]:
        """The ids of the documents whose files are among the paths or below them."""
        scope = {resolved(path) for path in paths}
        return {one for one, origin in self.origins.items() if lies_in(full_path(origin), scope)}

    def away(self, gone: set[str], found: FoundFiles) -> str | None:
        """The reason why the documents `gone` may be on a disk that is away; None: they are not.

        It is that a given path, or one of their roots that is a folder, gave no file at all.
        """
        gave = {source.origin.root for source in found.files}
        roots = sorted({self.origins[one].root for one in gone} - gave)
        empty = [*found.barren, *(root for root in roots if os.path.isdir(root))]
        if not empty:
            return None
        return (
            f"{empty[0]!r} gave no file, as if its disk were away. If its documents are to go, "
            "name them: hoptrail delete ID..."
        )

    def settled(self, source: SourceFile, document: Document, met: Collection[str]) -> Document:
        """The document under the id that it has in the store already, if it was adopted."""
        if not self._without_origin or document.id in self.origins:
            return document
        names = [document.id] if source.format == "jsonl" else _ends(source)
        for name in names:
            if name not in self._without_origin or name in met:
                continue
            before = self._store.document(name)
            if before is not None and _agree(before.text, document.text, source.format):
                self.adopted.add(name)
                return _renamed(document, name)
            if name != document.id:
                self._differing.add(name)
        return document

    def conflict(self, identifier: str, origin: Origin) -> str | None:
        """The reason why a document from there may not overwrite that one; None: it may."""
        owner = self.origins.get(identifier)
        if identifier not in self.fingerprints or self.may_own(identifier, origin):
            return None
        whose = (
            "of which the store does not say from where it is, with another text"
            if owner is None
            else f"which the store has from {owner.root!r}"
        )
        return (
            f"has the id {identifier!r}, {whose}: give it another id, delete that one (hoptrail "
            "delete), or overwrite it with --take-over"
        )

    def may_own(self, identifier: str, origin: Origin) -> bool:
        """Whether a stored document is, or becomes, one of the origin's root."""
        owner = self.origins.get(identifier)
        if self._take_over or identifier in self.adopted:
            return True
        return owner is not None and owner.root == origin.root


def _ends(source: SourceFile) -> list[str]:
    """The ends of a file's path, longest first: the ids that it may have had."""
    parts = full_path(source.origin).split("/")
    return [source.id, *("/".join(parts[first:]) for first in range(1, len(parts)))]


def _renamed(document: Document, identifier: str) -> Document:
    metadata = dict(document.metadata)
    if metadata.get("source") == document.id:
        metadata["source"] = identifier
    return replace(document, id=identifier, metadata=metadata)


def _agree(before: str, now: str, kind: Format) -> bool:
    """Whether two texts are readings of one file."""
    if kind not in ("html", "pdf"):
        return before == now
    old, new = set(before.split()), set(now.split())
    return len(old & new) >= _SHARE * len(old | new)
