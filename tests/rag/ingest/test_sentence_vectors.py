"""Sentence vectors: each passage gets its own once; they go with it; any may be missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing

import numpy as np
import pytest
from support.agents import page
from support.store import sql

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import EmbedderError
from hoptrail.rag.fsck import fsck
from hoptrail.rag.ingest.sentence_vectors import store_sentence_vectors
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store
from hoptrail.rag.text.sentences import sentences
from hoptrail.rag.types import Passage, Vectors, sentence_text

EMBEDDER = HashEmbedder()
TEXT = "A ship sank off the cape. Her master was saved. He was born in a mill."
OTHER = "The mill ground rye. It burned."


def passages(store: Store) -> list[Passage]:
    return [one for name in store.documents() for one in store.passages_of(name)]


def stored(store: Store) -> set[str]:
    return set(store.sentences.of([one.id for one in passages(store)]))


def rows(store: Store) -> int:
    with closing(sqlite3.connect(store.root / store.tenant / "catalogue.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM sentences").fetchone()[0])


class CountingEmbedder(HashEmbedder):
    """The hash embedder; counts its texts, and fails from the given call on."""

    def __init__(self, fail_at: int = 1_000) -> None:
        super().__init__()
        self.texts, self.calls, self.fail_at = 0, 0, fail_at

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        self.calls += 1
        if self.calls >= self.fail_at:
            raise EmbedderError("The server is gone.")
        self.texts += len(texts)
        return super().embed(texts, kind)


@pytest.fixture
def filled(store: Store) -> Store:
    store.commit([page("d1", "Cape", TEXT), page("d2", "Mill", OTHER)])
    assert store_sentence_vectors(store, EMBEDDER) == 2
    return store


def test_every_passage_gets_the_vectors_of_its_sentences(filled: Store) -> None:
    for passage in passages(filled):
        found = filled.sentences.of([passage.id])[passage.id]
        spans = sentences(passage.text)
        assert [tuple(span) for span in found.spans.tolist()] == spans
        right = EMBEDDER.embed([sentence_text(passage, *span) for span in spans])
        assert np.vecdot(found.vectors, right) == pytest.approx(1.0, abs=1e-4)
        assert np.linalg.norm(found.vectors, axis=1) == pytest.approx(1.0, abs=1e-6)


def test_a_sentence_is_scored_alike_whatever_is_read_beside_it(filled: Store) -> None:
    retriever = Retriever(filled, EMBEDDER)
    ids = [one.id for one in passages(filled)]
    together = retriever.sentences("a ship", ids)
    alone = [Retriever(filled, EMBEDDER).sentences("a ship", [one])[0] for one in ids]
    assert list(together) == alone
    right = EMBEDDER.embed(["Cape\nA ship sank off the cape."]) @ EMBEDDER.embed(["a ship"])[0]
    assert together[0] is not None
    assert together[0][0].cosine == pytest.approx(float(right[0]), abs=0.01)


def test_no_vector_is_made_twice(filled: Store) -> None:
    embedder, before = CountingEmbedder(), filled.generation
    assert store_sentence_vectors(filled, embedder) == 0
    assert embedder.texts == 0
    filled.commit([page("d2", "Mill", "It burned twice.")])
    assert store_sentence_vectors(filled, embedder) == 1
    assert embedder.texts == 1
    assert filled.generation == before + 1, "filling them in is no change of the documents"


def test_what_was_saved_before_a_failure_stays(store: Store) -> None:
    store.commit([page(f"d{n}", f"T{n}", f"Ship {n} sank.") for n in range(70)])
    with pytest.raises(EmbedderError):
        store_sentence_vectors(store, CountingEmbedder(fail_at=2))
    kept = len(stored(store))
    assert 0 < kept < 70
    told: list[int] = []
    assert store_sentence_vectors(store, EMBEDDER, told.append) == 70 - kept
    assert told == sorted(told)
    assert told[-1] == 70 - kept
    assert len(stored(store)) == 70


def test_they_go_with_their_document(filled: Store) -> None:
    assert rows(filled) == 2
    filled.commit([page("d1", "Cape", OTHER)], deletes=["d2"])
    assert rows(filled) == 0
    assert stored(filled) == set()
    assert fsck(filled.root).clean


def test_those_of_a_passage_that_is_gone_meanwhile_are_not_saved(store: Store) -> None:
    store.commit([page("d1", "Cape", TEXT)])

    class Slow(HashEmbedder):
        def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
            if len(texts) == 3:
                store.commit([page("d1", "Cape", OTHER)])
            return super().embed(texts, kind)

    store_sentence_vectors(store, Slow())
    (passage,) = passages(store)
    assert passage.text == OTHER
    found = store.sentences.of([passage.id])[passage.id]
    assert [tuple(span) for span in found.spans.tolist()] == sentences(OTHER)
    assert rows(store) == 1


def test_a_store_that_was_made_without_the_table_is_read_and_filled(filled: Store) -> None:
    sql(filled.root, "DROP TABLE sentences")
    assert stored(filled) == set()
    filled.commit([page("d3", "Rye", "Rye is a grass.")], deletes=["d2"])
    assert fsck(filled.root).clean
    assert store_sentence_vectors(filled, EMBEDDER) == 2
    assert len(stored(filled)) == 2


def test_those_of_another_version_are_made_anew(filled: Store) -> None:
    sql(filled.root, "UPDATE sentences SET version = 0")
    assert stored(filled) == set()
    assert store_sentence_vectors(filled, EMBEDDER) == 2
    assert len(stored(filled)) == 2
    assert rows(filled) == 2


def test_they_survive_a_compaction(filled: Store) -> None:
    filled.compact()
    assert len(stored(filled)) == 2


@pytest.mark.parametrize("change", ["vectors = x'00'", "crc = crc + 1", "spans = x''"])
def test_damaged_ones_are_not_read_and_a_repair_removes_them(filled: Store, change: str) -> None:
    sql(filled.root, f"UPDATE sentences SET {change} WHERE row = 0")
    assert len(stored(filled)) == 1
    report = fsck(filled.root)
    assert {one.kind for one in report.problems} == {"sentence"}
    assert fsck(filled.root, repair=True).clean
    assert store_sentence_vectors(filled, EMBEDDER) == 1


def test_a_tenant_has_its_own(filled: Store) -> None:
    with Store.create(filled.root, filled.spec, tenant="other") as other:
        other.commit([page("d1", "Cape", TEXT)])
        (passage,) = passages(other)
        assert passage.id in stored(filled)
        assert stored(other) == set()
