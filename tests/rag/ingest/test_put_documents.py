"""Documents put by a program: whole, all or none, embedded only when they changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError, StoreMismatch
from hoptrail.rag.fsck import fsck
from hoptrail.rag.ingest.parsers.parser import ParseLimits
from hoptrail.rag.ingest.put_documents import put_documents
from hoptrail.rag.types import Document, Vectors


class Counting(HashEmbedder):
    """An embedder that counts the texts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = 0

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.texts += len(texts)
        return super().embed(texts)


def document(name: str, text: str) -> Document:
    return Document(id=name, title=name, text=text)


LONG = " ".join(f"Sentence {at} is about the harbour of Port {at}." for at in range(2_000))


def test_long_documents_become_passages_and_vectors_row_by_row(tmp_path: Path) -> None:
    with KnowledgeBase.create(tmp_path / "s", embedder=HashEmbedder()) as kb:
        generation = kb.put([document("long", LONG), document("empty", ""), document("a", "A b.")])
        assert generation == kb.store.generation == 1
        passages = kb.store.passages_of("long")
        assert len(passages) > 64, "more than are embedded at once"
        assert all(LONG[one.start : one.end] == one.text for one in passages)
        assert kb.store.sentences.missing(after=-1, most=1) == {}
        assert kb.search("harbour of Port 1999").hits[0].passage.document_id == "long"
    assert fsck(tmp_path / "s", embedder=HashEmbedder()).clean


def test_what_is_there_already_is_not_embedded_again(tmp_path: Path) -> None:
    embedder = Counting()
    with KnowledgeBase.create(tmp_path / "s", embedder=embedder) as kb:
        kb.put([document("a", "One. Two.")])
        before = embedder.texts
        assert kb.put([document("a", "One. Two.")]) == 1
        assert embedder.texts == before
        assert kb.put([document("a", "Three.")]) == 2
        assert [one.text for one in kb.store.passages_of("a")] == ["Three."]


def test_one_that_cannot_be_stored_keeps_all_others_out(tmp_path: Path) -> None:
    with KnowledgeBase.create(tmp_path / "s", embedder=HashEmbedder()) as kb:
        for bad in (document("", "x"), Document(id="b", title="b" * 5_000, text="x")):
            with pytest.raises(SettingsError):
                kb.put([document("a", "Good."), bad])
        with pytest.raises(SettingsError, match=r"'long' .*: store it in parts"):
            put_documents(
                kb.store, kb.embedder, [document("a", "Good."), document("long", LONG)],
                limits=ParseLimits(seconds=0.001),
            )  # fmt: skip
        assert list(kb.store.documents()) == []


def test_another_embedder_is_refused(tmp_path: Path) -> None:
    with (
        KnowledgeBase.create(tmp_path / "s", embedder=HashEmbedder()) as kb,
        pytest.raises(StoreMismatch, match="hash-8"),
    ):
        put_documents(kb.store, HashEmbedder(8), [document("a", "x")])


def test_vectors_are_those_of_an_ingest(tmp_path: Path) -> None:
    with (
        KnowledgeBase.create(tmp_path / "one", embedder=HashEmbedder()) as put,
        KnowledgeBase.create(tmp_path / "two", embedder=HashEmbedder()) as ingested,
    ):
        (tmp_path / "a.txt").write_text(LONG)
        ingested.ingest(tmp_path / "a.txt")
        (name,) = ingested.store.documents()
        found = ingested.store.document(name)
        assert found is not None
        put.put([found])
        rows = np.arange(len(put.store.passages_of(name)))
        query = HashEmbedder().embed(["harbour of Port 7"])[0]
        np.testing.assert_allclose(
            put.store.dense(query, len(rows)).scores, ingested.store.dense(query, len(rows)).scores
        )
