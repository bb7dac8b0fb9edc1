"""Import of OpenIE triples from a JSON Lines file into a store's passage graph.

A record is a line of JSON: `{"id": ..., "triples": [[subject, relation, object], ...]}`, where the
id is a document's or a passage's; other keys (HippoRAG's `entities`) are ignored. Models also
write triples of two parts and of five: such a triple is refused, the rest of its record stands.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.files import SUFFIXES, FileProblem, SourceFile, UnreadableFile
from hoptrail.rag.ingest.parsers.jsonl import Line, RecordLimits, fields_of, read_lines
from hoptrail.rag.ingest.parsers.parser import ParseLimits
from hoptrail.rag.ingest.parsers.records import identifier_of
from hoptrail.rag.ingest.roots import resolved
from hoptrail.rag.store.graph_index.triples import Triple
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Origin

_BATCH = 20_000
"""Triples of one commit."""

_LONGEST = 1000
"""Characters of a part of a triple."""

_LIMITS = ParseLimits()

Parts = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A record that was not imported. `path`, line and `reason` make a sentence."""

    path: str
    line: int | None
    """From 1; None: it is about the whole file."""
    reason: str
    id: str | None = None
    """The record's, where it could be read."""
    unknown: bool = False
    """The store has no document or passage of that id."""

    def __str__(self) -> str:
        """The path, the line if there is one, and the reason."""
        place = self.path if self.line is None else f"{self.path}, line {self.line},"
        return f"{place} {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TriplesReport:
    """Counts of one import of triples."""

    records: int
    """Lines that are records, of known documents or not."""
    added: int
    """Triples that are new in the store."""
    known: int
    """Triples that stood in it before, or twice in the file."""
    refused: int
    """Lines that are no record, and triples that are none."""
    unknown: int
    """Records of documents and passages that the store does not have."""
    generation: int
    """The store's, after the import."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    id: str
    triples: tuple[Parts, ...]
    problems: tuple[str, ...]


def import_triples(path: Path, store: Store, tell: Callable[[Refusal], None]) -> TriplesReport:
    """Adds the triples of a .jsonl or .jsonl.gz file to a store's graph, in a few commits.

    A run that was stopped can be repeated: a triple that is there is not added again.

    Args:
        path: the file.
        store: one with a passage graph.
        tell: hears of everything that is not imported, when it is read.

    Raises:
        SettingsError: there is no such file, or its name is not that of JSON lines.
        BackendRefused, StoreBusy, StoreFull: as for `Store.import_triples`.
    """
    run = _Import(path, store, tell)
    store.import_triples(())  # a store without a graph is refused before the file is read
    for one in _records(path):
        run.take(one)
    return run.finished()


class _Import:
    """The state of one import."""

    def __init__(self, path: Path, store: Store, tell: Callable[[Refusal], None]) -> None:
        self._path = str(path)
        self._store = store
        self._tell = tell
        self._documents = store.fingerprints().keys()
        self._waiting: dict[Triple, int] = {}
        """Triples not yet committed, and their lines."""
        self._counts = dict.fromkeys(("records", "added", "known", "refused", "unknown"), 0)

    def take(self, one: Line[_Record] | FileProblem) -> None:
        """Takes in what one line was read as."""
        if isinstance(one, FileProblem):
            self._refuse(one.line, one.reason, one.document_id)
            return
        record = one.value
        self._counts["records"] += 1
        for problem in record.problems:
            self._refuse(one.number, problem, record.id)
        place = self._place(record.id)
        if place is None:
            self._unknown(one.number, record.id, "which is no document or passage of the store")
            return
        for parts in record.triples:
            triple = _triple(place, parts)
            self._counts["known"] += triple in self._waiting
            self._waiting.setdefault(triple, one.number)
        if len(self._waiting) >= _BATCH:
            self._commit()

    def finished(self) -> TriplesReport:
        """Commits the rest."""
        self._commit()
        return TriplesReport(**self._counts, generation=self._store.generation)

    def _commit(self) -> None:
        done = self._store.import_triples(list(self._waiting))
        self._counts["added"] += done.added
        self._counts["known"] += done.known
        lines = {one.document_id: self._waiting[one] for one in reversed(done.unplaced)}
        for identifier, line in lines.items():
            self._unknown(line, identifier, "which has no passage in the store")
        self._waiting.clear()

    def _place(self, identifier: str) -> Mapping[str, str | None] | None:
        """Where the triples of a record belong; a document goes before a passage of that id."""
        if identifier in self._documents:
            return {"document_id": identifier, "passage_id": None}
        (passage,) = self._store.passages([identifier])
        if passage is None:
            return None
        return {"document_id": passage.document_id, "passage_id": passage.id}

    def _refuse(self, line: int | None, reason: str, identifier: str | None) -> None:
        self._counts["refused"] += 1
        self._tell(Refusal(path=self._path, line=line, reason=reason, id=identifier))

    def _unknown(self, line: int, identifier: str, why: str) -> None:
        self._counts["unknown"] += 1
        reason = f"names {identifier!r}, {why}"
        self._tell(Refusal(path=self._path, line=line, reason=reason, id=identifier, unknown=True))


def _triple(place: Mapping[str, str | None], parts: Parts) -> Triple:
    subject, relation, thing = parts
    return Triple(**place, subject=subject, relation=relation, object=thing)  # type: ignore[arg-type]


def _records(path: Path) -> Iterator[Line[_Record] | FileProblem]:
    shown = str(path)
    if not path.is_file():
        what = "It is a folder" if path.is_dir() else "There is no such file"
        raise SettingsError(f"{what}: {shown!r}. Name a .jsonl or .jsonl.gz file of triples.")
    if not path.name.lower().endswith(tuple(s for s, f in SUFFIXES.items() if f == "jsonl")):
        raise SettingsError(f"{shown!r} is not named .jsonl or .jsonl.gz: name a file of triples.")
    origin = Origin(root=resolved(path), path="")
    size = path.stat().st_size
    source = SourceFile(path=path, id=path.name, origin=origin, format="jsonl", size=size)
    limits = RecordLimits(
        line_bytes=_LIMITS.line_bytes, gz_bytes=_LIMITS.gz_bytes, gz_ratio=_LIMITS.gz_ratio
    )
    return read_lines(source, limits, _record)


def _record(line: bytes | UnreadableFile, number: int) -> _Record | None:
    fields = fields_of(line, number)
    if fields is None:
        return None
    identifier, found = identifier_of(fields.get("id")), fields.get("triples")
    if not isinstance(found, list):
        reason = 'needs "triples", a list of [subject, relation, object]'
        raise UnreadableFile(reason, "malformed", identifier)
    problems = [_problem(one, place) for place, one in enumerate(found, 1)]
    whole = [tuple(one) for one, why in zip(found, problems, strict=True) if why is None]
    return _Record(
        id=identifier,
        triples=tuple(whole),
        problems=tuple(filter(None, problems)),
    )


def _problem(triple: object, place: int) -> str | None:
    """What is wrong with the triple at that place of its record; None: nothing."""
    if not isinstance(triple, list) or len(triple) != 3 or not all(map(_is_part, triple)):
        return (
            f"has a triple, number {place}, that is not [subject, relation, object], three texts "
            f"of at most {_LONGEST:,} characters that are not blank: {reprlib.repr(triple):.120}"
        )
    return None


def _is_part(part: object) -> bool:
    if not isinstance(part, str) or not part.strip() or len(part) > _LONGEST:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in part)
