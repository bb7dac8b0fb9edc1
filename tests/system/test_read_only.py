"""A store that can only be read: searched, asked and checked, and nothing is left beside it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.agents import CHAIN, QUESTION

from hoptrail.agents import KnowledgeBase
from hoptrail.rag.errors import SettingsError, StoreReadOnly
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.spec import StoreOptions
from hoptrail.rag.store.store import Store

OPTIONS = {
    "tantivy, exact": StoreOptions(),
    "rank-bm25, chroma": StoreOptions(lexical="rank-bm25", dense="chroma"),
}


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS.keys())
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store of the chain's documents, closed."""
    notes, root = tmp_path / "notes", tmp_path / "mine"
    notes.mkdir()
    for name, (title, text) in CHAIN.items():
        (notes / f"{name}.txt").write_text(f"{title}\n\n{text}\n", "utf-8")
    with KnowledgeBase.create(root, embedder="hash", options=request.param) as made:
        made.ingest(notes)
    return root


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Takes the right to write from a folder; root, whom no rights stop, is told so as well."""
    real, frozen = os.access, list[Path]()

    def access(path: str | Path, mode: int) -> bool:
        below = any(Path(path).absolute().is_relative_to(root) for root in frozen)
        return real(path, mode) and not (below and mode & os.W_OK)

    def take(root: Path) -> None:
        for path in (*root.rglob("*"), root):
            path.chmod(0o555 if path.is_dir() else 0o444)
        frozen.append(root)

    monkeypatch.setattr(os, "access", access)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    yield take
    for root in frozen:
        root.chmod(0o755)
        for path in root.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


def listing(root: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}


def test_it_is_searched_asked_and_checked(
    store: Path, freeze: Callable[[Path], None], tmp_path: Path
) -> None:
    with KnowledgeBase.open(store) as kb:
        hits = kb.search(QUESTION).hits
    freeze(store)
    before = listing(store)
    assert fsck(store).clean
    with KnowledgeBase.open(store) as kb:
        assert kb.search(QUESTION).hits == hits
        assert kb.ask(QUESTION).evidence
        assert kb.ask(QUESTION, strategy="lattice").evidence
        assert kb.runs is None
        with pytest.raises(SettingsError, match="runs of this store are not kept"):
            kb.resume("0123456789")
    assert listing(store) == before
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_would_write_says_why_not(store: Path, freeze: Callable[[Path], None]) -> None:
    freeze(store)
    before = listing(store)
    with KnowledgeBase.open(store) as kb:
        assert kb.ingest(store.parent / "notes").unchanged == len(CHAIN)
        for write in (kb.store.compact, lambda: kb.delete(["notes/d2.txt"])):
            with pytest.raises(StoreReadOnly, match=r"can only be read here: .* Copy the folder"):
                write()
    with pytest.raises(StoreReadOnly):
        fsck(store, repair=True)
    assert listing(store) == before


def test_a_log_that_a_killed_writer_left_is_read(
    store: Path, freeze: Callable[[Path], None], tmp_path: Path
) -> None:
    """What was committed last is in the log only."""
    taken = tmp_path / "taken"
    with Store.open(store) as opened:
        opened.commit((), ["notes/d2.txt"])
        shutil.copytree(store, taken, ignore=shutil.ignore_patterns("*.lock"))
    assert (taken / "default" / "catalogue.db-wal").stat().st_size
    connection = sqlite3.connect(f"file:{taken}/default/catalogue.db?immutable=1", uri=True)
    assert connection.execute("SELECT count(*) FROM documents").fetchone() == (len(CHAIN),)
    connection.close()
    freeze(taken)
    with Store.open(taken) as opened:
        assert opened.stats().documents == len(CHAIN) - 1
