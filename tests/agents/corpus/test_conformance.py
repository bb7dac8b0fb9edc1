"""Every implementation of `Corpus`: each method's result, and its deadline when the store hangs.

The implementations: the live corpus of a store, one behind an interceptor, one that goes on by
words, and a user's own around another.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.agents import CHAIN, QUESTION, Around, make_chain, open_chain

from hoptrail.agents.corpus.lexical_fallback import with_lexical_fallback
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.runs.intercepted import intercepted_corpus
from hoptrail.agents.runs.interceptor import LiveInterceptor

IMPLEMENTATIONS: dict[str, Callable[[Corpus], Corpus]] = {
    "live": lambda corpus: corpus,
    "intercepted": lambda corpus: intercepted_corpus(corpus, LiveInterceptor()),
    "lexical fallback": lambda corpus: with_lexical_fallback(corpus, lambda: 60.0),
    "around": Around,
}
CALLS: dict[str, Callable[[Corpus, float], Awaitable[Any]]] = {
    "generation": lambda corpus, timeout: corpus.generation(timeout=timeout),
    "language": lambda corpus, timeout: corpus.language(timeout=timeout),
    "search": lambda corpus, timeout: corpus.search(
        QUESTION, k=3, mode="hybrid", where={}, timeout=timeout
    ),
    "similarity": lambda corpus, timeout: corpus.similarity(
        QUESTION, ["The Heron was a ship."], timeout=timeout
    ),
    "sentences": lambda corpus, timeout: corpus.sentences(QUESTION, ["none"], timeout=timeout),
    "has_tree": lambda corpus, timeout: corpus.has_tree(timeout=timeout),
    "tree_start": lambda corpus, timeout: corpus.tree_start(
        QUESTION, [], k=3, where={}, timeout=timeout
    ),
    "tree_open": lambda corpus, timeout: corpus.tree_open(
        QUESTION, [0], stand=(1, 1), where={}, timeout=timeout
    ),
    "tree_passages": lambda corpus, timeout: corpus.tree_passages(QUESTION, [0], timeout=timeout),
    "passages": lambda corpus, timeout: corpus.passages(["none"], timeout=timeout),
    "slice": lambda corpus, timeout: corpus.slice("d1", 4, 9, timeout=timeout),
}
WITHOUT_READS = {"language", "similarity", "has_tree"}
"""Methods of the live corpus that read nothing of the store, or only whether a file is there."""


@pytest.fixture(params=IMPLEMENTATIONS)
def implementation(request: pytest.FixtureRequest) -> Callable[[Corpus], Corpus]:
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[KnowledgeBase]:
    """A store of this test alone, open."""
    with open_chain(make_chain(tmp_path / "store")) as library:
        yield library


def test_each_method_has_a_deadline_and_a_call_here() -> None:
    methods = {
        name: inspect.signature(one)
        for name, one in vars(Corpus).items()
        if inspect.iscoroutinefunction(one)
    }
    assert methods.keys() == CALLS.keys()
    for name, signature in methods.items():
        timeout = signature.parameters["timeout"]
        assert timeout.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert timeout.default is inspect.Parameter.empty, name


def test_each_method_answers(
    implementation: Callable[[Corpus], Corpus], opened: KnowledgeBase
) -> None:
    async def main() -> dict[str, Any]:
        corpus = implementation(opened.corpus)
        return {name: await call(corpus, 60.0) for name, call in CALLS.items()}

    found = asyncio.run(main())
    assert (found["generation"], found["language"]) == (1, "english")
    assert found["slice"] == CHAIN["d1"][1][4:9]
    assert found["passages"] == (None,)
    assert len(found["search"].hits) == 3
    assert len(found["similarity"]) == 1
    assert found["sentences"] == (None,)
    assert (found["tree_start"].built, found["tree_start"].leaves) == (True, len(CHAIN))
    assert sum(item.count for item in found["tree_open"][0].items) == len(CHAIN)
    assert len(found["tree_passages"]) == 1


@pytest.mark.parametrize("method", sorted(CALLS.keys() - WITHOUT_READS))
def test_each_read_ends_at_its_deadline_when_the_store_hangs(
    implementation: Callable[[Corpus], Corpus],
    opened: KnowledgeBase,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    go_on = Event()
    monkeypatch.setattr(
        type(opened.store), "generation", property(lambda _: _after(go_on)), raising=True
    )
    for name in ("passages", "slice", "resolve", "snapshot"):
        monkeypatch.setattr(type(opened.store), name, lambda *_: _after(go_on))
    monkeypatch.setattr(opened.store.sentences, "of", lambda _: _after(go_on))
    try:
        with pytest.raises(TimeoutError):
            asyncio.run(_ended(CALLS[method](implementation(opened.corpus), 0.05)))
    finally:
        go_on.set()


@pytest.mark.parametrize("method", ["search", "similarity"])
def test_each_call_that_embeds_ends_at_its_deadline_when_the_embedder_hangs(
    implementation: Callable[[Corpus], Corpus],
    opened: KnowledgeBase,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    go_on = Event()
    monkeypatch.setattr(type(opened.embedder), "embed", lambda *_: _after(go_on))
    try:
        with pytest.raises(TimeoutError):
            asyncio.run(_ended(CALLS[method](implementation(opened.corpus), 0.05)))
    finally:
        go_on.set()


@pytest.mark.parametrize("method", CALLS)
def test_a_corpus_that_keeps_no_deadline_is_cut_by_the_interceptor(method: str) -> None:
    class Endless:
        def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
            async def forever(*_: object, **__: object) -> None:
                await asyncio.Event().wait()

            return forever

    corpus = intercepted_corpus(Endless(), LiveInterceptor())  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        asyncio.run(_ended(CALLS[method](corpus, 0.05)))


async def _ended(call: Awaitable[Any]) -> Any:  # noqa: ANN401
    """A call's result; one that does not end fails the test."""
    try:
        async with asyncio.timeout(60.0) as limit:
            return await call
    except TimeoutError:
        assert not limit.expired(), "it had to be cut off by the test"
        raise


def _after(event: Event) -> Any:  # noqa: ANN401
    """Hangs until the test ends."""
    event.wait(60.0)
    raise RuntimeError("the test is over")
