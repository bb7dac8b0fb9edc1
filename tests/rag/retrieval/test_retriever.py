"""The searcher over the real store, against brute force, and over stores that move meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.retrieval.fusion import Fusion, MinMaxFusion, ReciprocalRankFusion
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.graph_index.reader import PassageGraph
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import (
    Candidates,
    Document,
    IndexedDocument,
    Mode,
    Passage,
    Vectors,
    Where,
    embedding_text,
    passage_id,
    tie_break,
)

EMBEDDER = HashEmbedder(32)
MODES: tuple[Mode, ...] = ("graph", "hybrid", "lexical", "dense")

SUBJECTS = ("ship", "harbour", "glacier", "institute", "captain", "lighthouse")
VERBS = ("sank", "froze", "burned", "opened", "vanished")


def _indexed(number: int, text: str) -> IndexedDocument:
    name = f"doc-{number}"
    passage = Passage(
        id=passage_id(name, 0, len(text)),
        document_id=name,
        start=0,
        end=len(text),
        title=f"Report {number}",
        text=text,
    )
    document = Document(id=name, title=passage.title, text=text, metadata={"odd": number % 2})
    return IndexedDocument(
        document=document,
        passages=(passage,),
        vectors=EMBEDDER.embed([embedding_text(passage)]),
        fingerprint=document.hash,
    )


@pytest.fixture(scope="module")
def tied_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """120 passages, many of them with equal words and so with equal scores."""
    texts = [
        f"The {SUBJECTS[n % 6]} {VERBS[n % 5]} near the {SUBJECTS[(n // 6) % 6]}."
        for n in range(120)
    ]
    root = tmp_path_factory.mktemp("store")
    with Store.create(root, StoreSpec(embedder=EMBEDDER.id, dimension=32)) as made:
        made.commit([_indexed(number, text) for number, text in enumerate(texts)])
        yield made


@pytest.fixture(scope="module")
def searcher(tied_store: Store) -> Retriever:
    return Retriever(tied_store, EMBEDDER)


queries = st.lists(st.sampled_from([*SUBJECTS, *VERBS, "Report", "7"]), min_size=1, max_size=5).map(
    " ".join
)


@pytest.mark.parametrize("mode", MODES)
@given(query=queries, k=st.integers(1, 20), more=st.integers(0, 20))
def test_best_first_without_repetition_and_prefix_stable(
    searcher: Retriever, mode: Mode, query: str, k: int, more: int
) -> None:
    ranking = searcher.search(query, k=k, mode=mode)
    longer = searcher.search(query, k=k + more, mode=mode)
    assert ranking.hits == longer.hits[:k]
    assert len(ranking.hits) == min(k, len(longer.hits))
    keys = [(-hit.score, tie_break(hit.passage.id)) for hit in longer.hits]
    assert keys == sorted(keys)
    assert len({hit.passage.id for hit in longer.hits}) == len(longer.hits)
    assert {hit.source for hit in longer.hits} <= {mode}
    assert ranking.query == query


@given(query=queries, k=st.integers(1, 120))
def test_dense_equals_brute_force(
    searcher: Retriever, tied_store: Store, query: str, k: int
) -> None:
    passages = [one for name in tied_store.documents() for one in tied_store.passages_of(name)]
    scores = EMBEDDER.embed([embedding_text(one) for one in passages]) @ EMBEDDER.embed([query])[0]
    expected = sorted(zip(scores.tolist(), (p.id for p in passages), strict=True), reverse=True)
    hits = searcher.search(query, k=k, mode="dense").hits
    assert len(hits) == k
    assert [hit.score for hit in hits] == pytest.approx([s for s, _ in expected[:k]], abs=1e-5)
    found = dict((identifier, score) for score, identifier in expected)
    assert [hit.score for hit in hits] == pytest.approx(
        [found[hit.passage.id] for hit in hits], abs=1e-5
    )


@pytest.mark.parametrize(
    "fusion", [MinMaxFusion(), MinMaxFusion(lexical_weight=0.2), ReciprocalRankFusion()]
)
@given(query=queries)
def test_hybrid_is_the_fusion_of_the_two_lists(
    tied_store: Store, fusion: Fusion, query: str
) -> None:
    searcher = Retriever(tied_store, EMBEDDER, fusion=fusion, depth=30)
    hits = searcher.search(query, k=20, mode="hybrid").hits
    fused = fusion.fuse(
        tied_store.lexical(query, 30), tied_store.dense(EMBEDDER.embed([query], "query")[0], 30), 30
    )
    passages = tied_store.resolve(fused.rows)
    scores = {p.id: s for p, s in zip(passages, fused.scores.tolist(), strict=True) if p}
    best = sorted(scores, key=lambda identifier: (-scores[identifier], tie_break(identifier)))[:20]
    assert [(hit.passage.id, hit.score) for hit in hits] == [(one, scores[one]) for one in best]


@pytest.mark.parametrize("mode", MODES)
def test_filter_keeps_only_its_own(searcher: Retriever, tied_store: Store, mode: Mode) -> None:
    hits = searcher.search("ship sank near", k=30, mode=mode, where={"odd": 1}).hits
    assert len(hits) == 30
    assert all(int(hit.passage.document_id.split("-")[1]) % 2 == 1 for hit in hits)


def test_k_above_the_depth_is_filled(tied_store: Store) -> None:
    assert len(Retriever(tied_store, EMBEDDER, depth=5).search("ship", k=100).hits) == 100


def test_lexical_without_a_known_word_finds_nothing(searcher: Retriever) -> None:
    assert searcher.search("xylophone", mode="lexical").hits == ()
    assert len(searcher.search("xylophone").hits) == 10


def test_empty_store_finds_nothing(tmp_path: Path) -> None:
    with Store.create(tmp_path, StoreSpec(embedder=EMBEDDER.id, dimension=32)) as empty:
        for mode in MODES:
            assert Retriever(empty, EMBEDDER).search("ship", mode=mode).hits == ()


@pytest.mark.parametrize("mode", MODES)
def test_a_query_of_100_000_characters(searcher: Retriever, mode: Mode) -> None:
    query = 'ship harbour Élan ( AND " ' * 4000
    assert len(searcher.search(query, k=3, mode=mode).hits) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query": ""}, "The query is empty"),
        ({"query": " \n\t"}, "The query is empty"),
        ({"query": "ship", "k": 0}, "needs k >= 1, not 0"),
        ({"query": "ship", "mode": "best"}, "Unknown mode 'best': use one of graph, hybrid"),
    ],
)
def test_wrong_settings_are_refused(
    searcher: Retriever, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        searcher.search(**settings)  # type: ignore[arg-type]


def test_depth_below_one_is_refused(tied_store: Store) -> None:
    with pytest.raises(SettingsError, match="at least 1, not 0"):
        Retriever(tied_store, EMBEDDER, depth=0)


def test_similarity_is_the_cosine(searcher: Retriever) -> None:
    texts = ["the ship sank", "bread", ""]
    expected = EMBEDDER.embed(texts) @ EMBEDDER.embed(["a ship sank"])[0]
    assert searcher.similarity("a ship sank", texts).tolist() == expected.tolist()
    assert searcher.similarity("a ship sank", []).shape == (0,)


class CountingEmbedder(HashEmbedder):
    """Notes what it was asked."""

    def __init__(self) -> None:
        super().__init__(32)
        self.asked: list[tuple[tuple[str, ...], TextKind]] = []

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        self.asked.append((tuple(texts), kind))
        return super().embed(texts, kind)


def test_a_query_is_embedded_once(tied_store: Store) -> None:
    embedder = CountingEmbedder()
    searcher = Retriever(tied_store, embedder)
    searcher.search("ship")
    searcher.search("ship", mode="dense", k=3)
    searcher.similarity("ship", ["harbour"])
    searcher.search("ship", mode="lexical")
    assert embedder.asked == [(("ship",), "query"), (("harbour",), "passage")]


@dataclass(slots=True)
class MovingStore:
    """Rows 0..n, best first; `alive` says which of them resolve at the nth time."""

    count: int
    alive: Callable[[int, int], bool]
    generations: Callable[[int], int] = lambda _asked: 7
    resolved: int = 0
    asked: int = 0
    wanted: list[int] = field(default_factory=list)
    linked: bool = False

    @property
    def generation(self) -> int:
        self.asked += 1
        return self.generations(self.asked)

    def snapshot(self) -> MovingStore:
        return self

    def lexical(self, query: str, k: int, where: Where) -> Candidates:
        self.wanted.append(k)
        rows = np.arange(min(k, self.count), dtype=np.int64)
        return Candidates(rows=rows, scores=(1000 - rows).astype(np.float32))

    def dense(self, vector: NDArray[np.float32], k: int, where: Where) -> Candidates:
        return self.lexical("", k, where)

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        raise AssertionError("no search along names is made here")

    def graph(self, where: Where) -> AbstractContextManager[PassageGraph]:
        raise AssertionError("no search along names is made here")

    def resolve(self, rows: NDArray[np.int64]) -> tuple[Passage | None, ...]:
        self.resolved += 1
        return tuple(
            Passage(id=str(row), document_id="d", start=0, end=1, title="", text=f"x{row}")
            if self.alive(self.resolved, row)
            else None
            for row in rows.tolist()
        )


def _found(store: MovingStore, k: int, mode: Mode = "hybrid") -> list[str]:
    return [hit.passage.id for hit in Retriever(store, EMBEDDER).search("x", k=k, mode=mode).hits]


def test_ranked_again_when_a_winner_was_replaced() -> None:
    moving = MovingStore(count=30, alive=lambda time, row: time > 1 or row != 2)
    assert _found(moving, 5) == ["0", "1", "2", "3", "4"]
    assert moving.resolved == 2


def test_ranked_again_when_a_commit_came_between_the_two_lists() -> None:
    moving = MovingStore(
        count=30, alive=lambda time, row: True, generations=lambda asked: 7 + (asked > 1)
    )
    ranking = Retriever(moving, EMBEDDER).search("x", k=5)
    assert (ranking.generation, moving.resolved) == (8, 2)


def test_after_three_times_runners_up_fill_the_gaps() -> None:
    moving = MovingStore(count=30, alive=lambda time, row: row != 2)
    assert _found(moving, 5) == ["0", "1", "3", "4", "5"]
    assert moving.resolved == 3


def test_hybrid_asks_for_the_depth_and_the_others_for_k() -> None:
    moving = MovingStore(count=300, alive=lambda time, row: True)
    searcher = Retriever(moving, EMBEDDER, depth=40)
    searcher.search("x", k=10)
    searcher.search("x", k=60)
    searcher.search("x", k=10, mode="lexical")
    searcher.search("x", k=10, mode="dense")
    assert moving.wanted == [40, 40, 60, 60, 10, 10]


def test_all_that_tie_with_the_last_are_considered() -> None:
    @dataclass
    class Tied(MovingStore):
        def lexical(self, query: str, k: int, where: Where) -> Candidates:
            rows = np.arange(30, dtype=np.int64)
            return Candidates(rows=rows, scores=np.r_[9, np.full(29, 1)].astype(np.float32))

    tied = Tied(count=30, alive=lambda time, row: True)
    expected = ["0", *sorted(map(str, range(1, 30)), key=tie_break)][:4]
    assert _found(tied, 4, "lexical") == expected
