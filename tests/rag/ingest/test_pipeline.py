"""Ingest over the real store: what is committed, skipped, pruned, reported, and survives a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from support.clock import Clock

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import EmbedderError, SettingsError, StoreFull, StoreMismatch
from hoptrail.rag.ingest.chunking import chunk
from hoptrail.rag.ingest.parsers.parser import ParseLimits, Parser
from hoptrail.rag.ingest.pipeline import (
    DocumentCommitted,
    DocumentDeleted,
    DocumentSkipped,
    FileFailed,
    IngestEvent,
    IngestReport,
    IngestSettings,
    Progress,
    ingest,
)
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import Vectors

Kind = TypeVar("Kind", bound=IngestEvent)

PASSAGE = "The ship number {} left the harbour of Onn. "


class CountingEmbedder(HashEmbedder):
    """Remembers the texts of each call; fails on the call of that number, from 1."""

    def __init__(self, fails_on: int = 0, error: type[BaseException] = EmbedderError) -> None:
        super().__init__(64)
        self.calls: list[list[str]] = []
        self._fails_on, self._error = fails_on, error

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        self.calls.append(list(texts))
        if len(self.calls) == self._fails_on:
            raise self._error("the embedder went away")
        return super().embed(texts, kind)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "docs"
    path.mkdir()
    return path


def write(folder: Path, name: str, text: str = "Some words.") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_records(folder: Path, name: str, count: int, first: int = 0) -> Path:
    rows = [
        {"id": f"r{n}", "title": f"Ship {n}", "text": PASSAGE.format(n).strip()}
        for n in range(first, first + count)
    ]
    return write(folder, name, "\n".join(json.dumps(row) for row in rows))


def run(
    store: Store,
    *paths: Path,
    settings: IngestSettings | None = None,
    embedder: HashEmbedder | None = None,
    clock: Callable[[], float] | None = None,
) -> tuple[IngestReport, list[IngestEvent]]:
    events: list[IngestEvent] = []
    report = ingest(
        paths,
        store,
        embedder or HashEmbedder(64),
        settings or IngestSettings(),
        events.append,
        clock or Clock(),
    )
    return report, events


def only(kind: type[Kind], events: list[IngestEvent]) -> list[Kind]:
    return [event for event in events if isinstance(event, kind)]


def test_a_folder_becomes_documents(store: Store, folder: Path) -> None:
    write(folder, "a.txt", PASSAGE.format(1) * 60)
    write(folder, "sub/b.md", "# The Heron\n\nShe sailed.")
    write(folder, "c.html", "<title>Page</title><p>Text</p>")
    write(folder, "d.odt")
    write_records(folder, "e.jsonl", 3)
    report, events = run(store, folder)
    assert (report.added, report.failed, report.skipped_files) == (6, 0, 1)
    assert sorted(store.documents()) == [
        "docs/a.txt", "docs/c.html", "docs/sub/b.md", "r0", "r1", "r2",
    ]  # fmt: skip
    heron = store.document("docs/sub/b.md")
    assert heron is not None
    assert heron.title == "The Heron"
    assert heron.metadata == {"source": "docs/sub/b.md", "format": "markdown"}
    committed = only(DocumentCommitted, events)
    assert sum(event.passages for event in committed) == report.passages == store.stats().passages
    for event in committed:
        passages = store.passages_of(event.id)
        document = store.document(event.id)
        assert document is not None
        assert len(passages) == event.passages
        assert all(document.text[p.start : p.end] == p.text for p in passages)
    last = only(Progress, events)[-1]
    assert last.done_bytes == last.total_bytes > 0
    assert (last.documents, last.passages) == (6, report.passages)


def test_unchanged_documents_are_not_embedded_again(store: Store, folder: Path) -> None:
    write(folder, "a.txt", "One.")
    write_records(folder, "b.jsonl", 3)
    run(store, folder)
    generation = store.generation
    embedder = CountingEmbedder()
    report, events = run(store, folder, embedder=embedder)
    assert (report.added, report.replaced, report.unchanged) == (0, 0, 4)
    assert embedder.calls == []
    assert store.generation == report.generation == generation
    assert {event.id for event in only(DocumentSkipped, events)} == {"docs/a.txt", "r0", "r1", "r2"}
    write(folder, "a.txt", "Two.")
    report, events = run(store, folder, embedder=embedder)
    assert (report.replaced, report.unchanged) == (1, 3)
    assert embedder.calls == [["a\nTwo."]]
    assert only(DocumentCommitted, events)[0].replaced
    assert [p.text for p in store.passages_of("docs/a.txt")] == ["Two."]


def test_other_settings_split_files_again_but_not_records(store: Store, folder: Path) -> None:
    write(folder, "a.txt", PASSAGE.format(1) * 60)
    write_records(folder, "b.jsonl", 2)
    run(store, folder)
    for settings in (IngestSettings(chunk_tokens=60), IngestSettings(chunk_tokens=60, overlap=20)):
        before = len(store.passages_of("docs/a.txt"))
        report, _ = run(store, folder, settings=settings)
        assert (report.replaced, report.unchanged) == (1, 2)
        assert len(store.passages_of("docs/a.txt")) > before


def test_an_event_comes_after_its_commit(store: Store, folder: Path) -> None:
    write_records(folder, "a.jsonl", 20)
    seen: list[str] = []

    def check(event: IngestEvent) -> None:
        if isinstance(event, DocumentCommitted):
            seen.append(event.id)
            assert store.document(event.id) is not None
            assert store.generation >= event.generation

    ingest([folder], store, HashEmbedder(64), IngestSettings(batch_passages=5), check)
    assert len(seen) == 20


def test_commits_hold_at_most_so_many_passages(store: Store, folder: Path) -> None:
    write_records(folder, "a.jsonl", 25)
    write(folder, "b.txt", PASSAGE.format(1) * 200)
    settings = IngestSettings(batch_passages=10, chunk_tokens=20)
    _, events = run(store, folder, settings=settings)
    sizes: dict[int, list[int]] = {}
    for event in only(DocumentCommitted, events):
        sizes.setdefault(event.generation, []).append(event.passages)
    assert [sum(group) for group in list(sizes.values())[:3]] == [10, 10, 5]
    assert list(sizes.values())[3] == [200]


def test_commits_come_when_the_time_is_up(store: Store, folder: Path) -> None:
    write_records(folder, "a.jsonl", 64)
    clock = Clock()

    class Slow(HashEmbedder):
        def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
            clock.now += 0.5 * len(texts)
            return super().embed(texts, kind)

    settings = IngestSettings(batch_seconds=2.0)
    _, events = run(store, folder, settings=settings, embedder=Slow(64), clock=clock)
    generations = [event.generation for event in only(DocumentCommitted, events)]
    assert [generations.count(g) for g in sorted(set(generations))] == [32, 16, 8, 8]


def test_a_waiting_document_is_committed_while_others_are_skipped(
    store: Store, folder: Path
) -> None:
    write_records(folder, "b.jsonl", 5)
    run(store, folder)
    write(folder, "a.txt", "New.")
    clock = Clock()
    events: list[IngestEvent] = []

    def tell(event: IngestEvent) -> None:
        events.append(event)
        clock.now += 1.0

    ingest([folder], store, HashEmbedder(64), IngestSettings(), tell, clock)
    kinds = [type(event) for event in events if not isinstance(event, Progress)]
    assert kinds.index(DocumentCommitted) < 5


def test_a_waiting_document_is_committed_while_a_slow_file_is_parsed(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, "a.txt", "New.")
    write(folder, "b.html", "<p>slow</p>")
    worker = (sys.executable, "-P", "-c", WAITING, str(folder / "committed"))
    monkeypatch.setattr("hoptrail.rag.ingest.pipeline.Parser", partial(Parser, worker=worker))
    committed: list[str] = []

    def tell(event: IngestEvent) -> None:
        if isinstance(event, DocumentCommitted):
            committed.append(event.id)
            (folder / "committed").touch()

    report = ingest([folder], store, HashEmbedder(64), IngestSettings(batch_seconds=0.5), tell)
    assert report.failures == ()
    assert committed == ["docs/a.txt", "docs/b.html"]


WAITING = """
import json, sys, time
from multiprocessing.connection import Connection
from pathlib import Path
incoming, outgoing = Connection(int(sys.argv[2])), Connection(int(sys.argv[3]))
outgoing.send_bytes(b"{}")
incoming.recv_bytes()
while not Path(sys.argv[1]).exists():
    time.sleep(0.01)
outgoing.send_bytes(json.dumps({"title": "", "text": "slow"}).encode())
time.sleep(600)
"""
"""A parser that takes until something was committed."""


def test_many_small_pages_share_a_commit(store: Store, folder: Path) -> None:
    for number in range(20):
        write(folder, f"{number}.html", f"<p>page {number}</p>")
    _, events = run(store, folder)
    assert [event.generation for event in only(DocumentCommitted, events)] == [1] * 20


def test_progress_is_told_each_second(store: Store, folder: Path) -> None:
    path = write_records(folder, "a.jsonl", 64)
    clock = Clock()

    class Slow(HashEmbedder):
        def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
            clock.now += 0.1 * len(texts)
            return super().embed(texts, kind)

    _, events = run(store, folder, embedder=Slow(64), clock=clock)
    told = only(Progress, events)
    assert [event.documents for event in told] == [32, 48, 64, 64]
    assert 0 < told[0].done_bytes < told[1].done_bytes < told[2].done_bytes
    assert told[-1].done_bytes == path.stat().st_size


def test_a_store_inside_the_folder_is_not_read(folder: Path) -> None:
    write(folder, "a.txt")
    with Store.create(folder / "store", StoreSpec(embedder="hash-64", dimension=64)) as store:
        write(folder / "store" / "default", "runs/r1/ledger.jsonl", '{"id": "x", "text": "y"}')
        report, _ = run(store, folder)
        assert (report.added, report.failed, report.skipped_files) == (1, 0, 0)
        assert list(store.documents()) == ["docs/a.txt"]


def test_slices_grow_with_a_fast_embedder(store: Store, folder: Path) -> None:
    write_records(folder, "a.jsonl", 512)
    embedder = CountingEmbedder()
    run(store, folder, embedder=embedder)
    assert [len(call) for call in embedder.calls] == [32, 64, 128, 32, 256]


def test_a_broken_file_is_reported_and_the_rest_goes_on(store: Store, folder: Path) -> None:
    write(folder, "a.txt", "")
    write(folder, "b.txt", "fine")
    (folder / "c.txt").write_bytes(b"\xff\xfe\xff")
    write(folder, "d.jsonl", '{"id": "x", "text": "fine"}\nbroken\n')
    report, events = run(store, folder)
    assert (report.added, report.failed) == (2, 3)
    assert report.failures == tuple(only(FileFailed, events))
    assert [(Path(f.path).name, f.kind, f.line) for f in report.failures] == [
        ("a.txt", "empty", None),
        ("c.txt", "encoding", None),
        ("d.jsonl", "malformed", 2),
    ]


def test_what_the_store_refuses_is_the_files_problem(store: Store, folder: Path) -> None:
    """A lone surrogate in a record's title: before, the store's refusal ended the whole ingest."""
    (folder / "a.jsonl").write_text(
        '{"id": "bad", "title": "\\ud800", "text": "Some words."}\n'
        '{"id": "good", "title": "Fine", "text": "Some words."}\n'
    )
    write(folder, "z.txt")
    report, events = run(store, folder)
    assert (report.added, report.failed) == (2, 1)
    (failed,) = only(FileFailed, events)
    assert failed.path.endswith("a.jsonl")
    assert "Unicode" in failed.reason or "surrogate" in failed.reason
    assert {"good"} < set(store.documents())


def test_an_id_used_twice(store: Store, folder: Path) -> None:
    write_records(folder, "a.jsonl", 2)
    write_records(folder, "b.jsonl", 2, first=1)
    report, _ = run(store, folder)
    assert (report.added, report.failed) == (3, 1)
    assert report.failures[0].kind == "duplicate"
    assert report.failures[0].path.endswith("b.jsonl")
    assert report.failures[0].reason == (
        f"has the id 'r1', which {folder / 'a.jsonl'}, line 2 used already"
    )


PRUNE = IngestSettings(prune=True)


def test_prune_deletes_what_is_gone(store: Store, folder: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        write(folder, name)
    run(store, folder)
    (folder / "b.txt").unlink()
    report, _ = run(store, folder)
    assert (report.deleted, report.prune_refused) == (0, None)
    report, events = run(store, folder, settings=PRUNE)
    assert (report.deleted, report.unchanged) == (1, 2)
    (deleted,) = only(DocumentDeleted, events)
    assert (deleted.id, deleted.generation) == ("docs/b.txt", store.generation)
    assert sorted(store.documents()) == ["docs/a.txt", "docs/c.txt"]


def test_prune_keeps_the_old_version_of_a_broken_file(store: Store, folder: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        write(folder, name)
    run(store, folder)
    write(folder, "a.txt", "")
    (folder / "b.txt").unlink()
    report, _ = run(store, folder, settings=PRUNE)
    assert (report.deleted, report.failed) == (1, 1)
    assert sorted(store.documents()) == ["docs/a.txt", "docs/c.txt"]


def test_prune_is_refused_when_what_is_missing_cannot_be_known(store: Store, folder: Path) -> None:
    write_records(folder, "a.jsonl", 3)
    run(store, folder)
    path = folder / "a.jsonl"
    path.write_text(path.read_text().replace('{"id": "r1"', '{"id": r1'))
    report, _ = run(store, folder, settings=PRUNE)
    assert report.deleted == 0
    assert report.prune_refused is not None
    assert report.prune_refused.startswith("which documents are missing cannot be known:")
    assert "a.jsonl, line 2, is not JSON" in report.prune_refused
    assert len(list(store.documents())) == 3
    path.write_text(json.dumps({"id": "r1", "text": " "}) + "\n" + json.dumps({"id": "z"}))
    report, _ = run(store, folder, settings=PRUNE)
    assert report.prune_refused == "no document was read, so that everything would be deleted"


@pytest.mark.parametrize("prune", [False, True])
def test_an_empty_or_mistyped_folder_changes_nothing(
    store: Store, folder: Path, prune: bool
) -> None:
    run(store, write(folder, "a.txt"))
    empty = folder / "empty"
    empty.mkdir()
    settings = IngestSettings(prune=prune)
    with pytest.raises(SettingsError, match=r"nothing to read in .*Files ending in \.txt, \.md"):
        run(store, empty, settings=settings)
    with pytest.raises(SettingsError, match="There is no file or folder"):
        run(store, folder / "mistyped", settings=settings)
    with pytest.raises(SettingsError, match="nothing to read in no path"):
        run(store, settings=settings)
    assert list(store.documents()) == ["a.txt"]


@pytest.mark.parametrize("error", [EmbedderError, KeyboardInterrupt])
def test_what_was_committed_stays_when_the_run_is_cut_short(
    store: Store, folder: Path, error: type[BaseException]
) -> None:
    write_records(folder, "a.jsonl", 30)
    settings = IngestSettings(batch_passages=10)
    events: list[IngestEvent] = []
    with pytest.raises(error, match="went away"):
        ingest([folder], store, CountingEmbedder(3, error), settings, events.append, Clock())
    assert {event.id for event in only(DocumentCommitted, events)} == set(store.documents())
    assert len(list(store.documents())) == 20
    report, _ = run(store, folder, settings=settings)
    assert (report.added, report.unchanged) == (10, 20)


def test_a_full_disk_ends_the_run_with_the_stores_error(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_records(folder, "a.jsonl", 30)
    commit = store.commit
    commits = []

    def full(*arguments: object, **more: object) -> int:
        commits.append(arguments)
        if len(commits) == 2:
            raise StoreFull("The disk is full.")
        return commit(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "commit", full)
    with pytest.raises(StoreFull, match="The disk is full"):
        run(store, folder, settings=IngestSettings(batch_passages=10))
    assert len(list(store.documents())) == 10


def test_an_embedder_that_does_not_fit(store: Store, folder: Path) -> None:
    write(folder, "a.txt")
    with pytest.raises(StoreMismatch, match="made with the embedder 'hash-64', not 'hash-32'"):
        run(store, folder, embedder=HashEmbedder(32))

    class Short(HashEmbedder):
        def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
            return super().embed(texts, kind)[:-1]

    with pytest.raises(EmbedderError, match=r"shape \(0, 64\) for 1 texts"):
        run(store, folder, embedder=Short(64))


@pytest.mark.parametrize(
    ("field", "value"),
    [("chunk_tokens", 4), ("overlap", 180), ("batch_passages", 0), ("batch_seconds", -1.0)],
)
def test_impossible_settings(field: str, value: float) -> None:
    with pytest.raises(SettingsError, match="Set "):
        replace(IngestSettings(), **{field: value})


def test_limits_reach_the_parser(store: Store, folder: Path) -> None:
    write(folder, "a.txt", "x" * 101)
    settings = IngestSettings(limits=ParseLimits(file_bytes=100))
    report, _ = run(store, folder, settings=settings)
    assert report.failures[0].reason == "is larger than 100 bytes"


def test_a_language_without_sentence_rules_takes_the_english_ones(
    tmp_path: Path, folder: Path
) -> None:
    write(folder, "a.txt", "Egy mondat. Még egy.")
    spec = StoreSpec(embedder="hash-64", dimension=64, language="hungarian")
    with Store.create(tmp_path / "magyar", spec) as store:
        report, _ = run(store, folder, settings=IngestSettings(chunk_tokens=8))
        assert report.added == 1
        assert [p.text for p in store.passages_of("docs/a.txt")] == ["Egy mondat.", "Még egy."]


KILLED = """
import sys, time
from pathlib import Path
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.ingest.pipeline import DocumentCommitted, IngestSettings, ingest
from hoptrail.rag.store.store import Store

class Slow(HashEmbedder):
    def embed(self, texts, kind="passage"):
        time.sleep(0.01)
        return super().embed(texts, kind)

def tell(event):
    if isinstance(event, DocumentCommitted):
        print(event.id, flush=True)

embedder = Slow(64)
with Store.open(Path(sys.argv[1]), embedder=embedder) as store:
    ingest([Path(sys.argv[2])], store, embedder, IngestSettings(batch_passages=4), tell)
"""


@pytest.mark.parametrize("after", [1, 9, 30])
def test_a_killed_run_loses_nothing_acknowledged_and_resumes(
    tmp_path: Path, folder: Path, after: int
) -> None:
    write_records(folder, "a.jsonl", 300)
    write(folder, "b.html", "<p>last</p>")
    root = tmp_path / "store"
    Store.create(root, StoreSpec(embedder="hash-64", dimension=64)).close()
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", KILLED, str(root), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
    )
    assert child.stdout is not None
    acknowledged = [child.stdout.readline().strip() for _ in range(after)]
    child.send_signal(signal.SIGKILL)
    acknowledged += child.stdout.read().split()
    child.wait()
    with Store.open(root, embedder=HashEmbedder(64)) as store:
        kept = set(store.documents())
        assert set(acknowledged) <= kept
        assert len(kept) < 301
        report, _ = run(store, folder)
        assert (report.added, report.unchanged) == (301 - len(kept), len(kept))
        assert store.stats().documents == 301


def test_a_long_title_is_cut_and_not_multiplied_by_the_passages(store: Store, folder: Path) -> None:
    text = "".join(f"<p>{PASSAGE.format(n) * 20}</p>" for n in range(60))
    title = " ".join(f"word{n}" for n in range(20_000))
    write(folder, "a.html", f"<title>{title}</title>{text}")
    write(folder, "b.jsonl", json.dumps({"id": "b", "title": title, "text": PASSAGE * 300}))
    write(folder, "c.md", f"# {title}\n\n{PASSAGE * 300}")
    embedder = CountingEmbedder()
    report, _ = run(store, folder, embedder=embedder)
    assert (report.added, report.failed) == (3, 0)
    embedded = sum(len(one) for call in embedder.calls for one in call)
    assert embedded < 2 * sum(path.stat().st_size for path in folder.iterdir())
    for name in ("docs/a.html", "b", "docs/c.md"):
        document = store.document(name)
        assert document is not None
        assert document.title.startswith("word0 word1 ")
        assert 250 < len(document.title) <= 300
        assert document.title.endswith("…")


def test_splitting_obeys_the_deadline(store: Store, folder: Path) -> None:
    write(folder, "a.txt", "\u00a0." * 500_000)
    write(folder, "b.txt", "q" * 1_000_000)
    write(folder, "c.txt")
    limits = ParseLimits(seconds=0.01)
    report, events = run(store, folder, settings=IngestSettings(limits=limits))
    assert sorted(store.documents()) == ["docs/c.txt"]
    assert report.failed == 2
    assert {event.kind for event in only(FileFailed, events)} == {"timeout"}


def test_a_long_text_is_split_alike_in_the_child_and_here(store: Store, folder: Path) -> None:
    text = "".join(PASSAGE.format(n) for n in range(2_000))
    write(folder, "a.txt", text)
    run(store, folder)
    document = store.document("docs/a.txt")
    assert document is not None
    assert [(p.start, p.end) for p in store.passages_of("docs/a.txt")] == [
        (p.start, p.end) for p in chunk(document)
    ]
