"""Runs that share a corpus: none is starved by another's tree, embedder or queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.agents import QUESTION, make_chain, open_chain, page

from hoptrail.agents import Budget, KnowledgeBase, aask
from hoptrail.agents.corpus import live_tree
from hoptrail.agents.corpus import threads as module
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.embedders.interruptible import TEXTS
from hoptrail.rag.tree.builders.build import build_tree
from hoptrail.rag.types import Vectors

LATE = 60.0


class Hanging(HashEmbedder):
    """An embedder that hangs on texts that hold a certain word."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = Event()
        self.batches: list[int] = []

    def embed(self, texts: Sequence[str], kind: Any = "passage") -> Vectors:  # noqa: ANN401
        self.batches.append(len(texts))
        if any("hang" in text for text in texts):
            self.go_on.wait(LATE)
        return super().embed(texts, kind)


@pytest.fixture
def embedder() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.go_on.set()


@pytest.fixture
def opened(tmp_path: Path, embedder: Hanging) -> Iterator[KnowledgeBase]:
    root = make_chain(tmp_path / "store")
    with KnowledgeBase.open(root, embedder=embedder, keep_runs=False) as library:
        yield library


def test_searches_and_reads_go_on_while_a_tree_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    building, go_on = Event(), Event()

    def slow(*arguments: Any) -> Any:  # noqa: ANN401
        building.set()
        go_on.wait(LATE)
        return build_tree(*arguments)

    monkeypatch.setattr(live_tree, "build_tree", slow)

    async def main(library: KnowledgeBase) -> None:
        corpus = library.corpus

        def start(timeout: float) -> Any:  # noqa: ANN401
            return corpus.tree_start(QUESTION, [], k=0, where={}, timeout=timeout)

        waiting = [asyncio.create_task(start(LATE)) for _ in range(20)]
        assert await asyncio.to_thread(building.wait, LATE)
        with pytest.raises(TimeoutError):
            await start(0.05)
        found = await corpus.search(QUESTION, k=3, mode="hybrid", where={}, timeout=LATE)
        assert found.hits
        assert await corpus.slice("d1", 0, 3, timeout=LATE) == "The"
        assert not any(one.done() for one in waiting)
        go_on.set()
        starts = await asyncio.gather(*waiting)
        assert sum(one.built for one in starts) == 1, "only one of them had it built"
        assert len({one.stand for one in starts}) == 1, "it was built once"
        assert not (await start(LATE)).built

    with open_chain(make_chain(tmp_path / "store")) as library:
        try:
            asyncio.run(main(library))
        finally:
            go_on.set()


def test_a_search_of_the_old_tree_goes_on_while_the_new_one_is_loaded(
    opened: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on = Event(), Event()
    load = live_tree.load_tree

    def slow(store: Any) -> Any:  # noqa: ANN401
        loading.set()
        go_on.wait(LATE)
        return load(store)

    async def main() -> None:
        corpus = opened.corpus
        old = await corpus.tree_start(QUESTION, [], k=0, where={}, timeout=LATE)
        monkeypatch.setattr(live_tree, "load_tree", slow)
        opened.store.commit([page("new", "Heron (bird)", "The heron nests by water.")])
        new = asyncio.create_task(corpus.tree_start(QUESTION, [], k=0, where={}, timeout=LATE))
        assert await asyncio.to_thread(loading.wait, LATE)
        (root,) = await corpus.tree_open(QUESTION, [0], stand=old.stand, where={}, timeout=LATE)
        assert sum(item.count for item in root.items) == old.leaves
        go_on.set()
        assert (await new).leaves == old.leaves + 1

    try:
        asyncio.run(main())
    finally:
        go_on.set()


def test_short_reads_never_wait_behind_calls_that_embed(
    opened: KnowledgeBase, embedder: Hanging
) -> None:
    async def main() -> None:
        corpus = opened.corpus
        hung = [
            asyncio.create_task(corpus.similarity(QUESTION, ["hang"], timeout=LATE))
            for _ in range(40)
        ]
        await asyncio.sleep(0.05)
        assert await corpus.generation(timeout=LATE) == 1
        assert await corpus.slice("d1", 0, 3, timeout=LATE) == "The"
        assert await corpus.passages(["none"], timeout=LATE) == (None,)
        words = await corpus.search(QUESTION, k=2, mode="lexical", where={}, timeout=LATE)
        assert words.hits
        assert not any(one.done() for one in hung)
        embedder.go_on.set()
        await asyncio.gather(*hung)

    asyncio.run(main())


def test_a_run_whose_embedder_hangs_takes_no_innocent_run_with_it(
    opened: KnowledgeBase, embedder: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)

    async def main() -> None:
        hung = [
            asyncio.create_task(
                opened.corpus.search("hang", k=2, mode="hybrid", where={}, timeout=LATE)
            )
            for _ in range(6)
        ]
        await asyncio.sleep(0.1)
        receipt = await aask(QUESTION, opened, budget=Budget(seconds=LATE))
        assert (receipt.outcome.kind, receipt.stop) == ("quotes", "sufficient")
        assert not any(one.done() for one in hung)
        embedder.go_on.set()
        await asyncio.gather(*hung)

    asyncio.run(main())


def test_a_call_that_is_given_up_embeds_no_further_batch(
    opened: KnowledgeBase, embedder: Hanging
) -> None:
    texts = ["hang", *("longer than the first text" for _ in range(10 * TEXTS))]

    async def main() -> None:
        await opened.corpus.similarity(QUESTION, [], timeout=LATE)
        embedder.batches.clear()
        with pytest.raises(TimeoutError):
            await opened.corpus.similarity(QUESTION, texts, timeout=0.05)
        embedder.go_on.set()
        while opened.corpus._embeds._inside:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
        assert embedder.batches == [TEXTS]

    asyncio.run(main())
