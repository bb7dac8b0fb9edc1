"""A store with a passage graph, open, that no test changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.agents import make_chain, open_chain

from hoptrail.agents.knowledge_base import KnowledgeBase


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    root = make_chain(tmp_path_factory.mktemp("adapters") / "store", graph="links")
    with open_chain(root, keep=True) as opened:
        yield opened
