"""The chain of documents as a store and as an open knowledge base, one for each test file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.agents import CHAIN, make_chain, open_chain

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.strategies.graph import compiled_graph


@pytest.fixture(scope="module")
def documents() -> Mapping[str, tuple[str, str]]:
    """Title and text of each document of the store; a file may define others."""
    return CHAIN


@pytest.fixture(scope="module")
def store(
    tmp_path_factory: pytest.TempPathFactory, documents: Mapping[str, tuple[str, str]]
) -> Path:
    """The folder of a store without a passage graph; for tests that do not write to it."""
    return make_chain(tmp_path_factory.mktemp("chain") / "store", documents)


@pytest.fixture(scope="module")
def library(store: Path) -> Iterator[KnowledgeBase]:
    """The store, open; its runs are not kept on the disk."""
    with open_chain(store) as opened:
        yield opened


@pytest.fixture
def fresh_graphs() -> Iterator[None]:
    """For tests that put other nodes in place: graphs are compiled once a process."""
    compiled_graph.cache_clear()
    yield
    compiled_graph.cache_clear()
