"""Stores and a receipt for the tests of the command line and of the pages that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from support.agents import QUESTION, make_chain
from support.cli import RECORDS, TEXTS, cli, make_store
from support.tree import plant


@pytest.fixture(scope="module")
def texts() -> Mapping[str, str]:
    """The documents of `store`; a file may define others."""
    return TEXTS


@pytest.fixture
def store(tmp_path: Path, texts: Mapping[str, str]) -> Path:
    """A store of the test's own."""
    return make_store(tmp_path / "store", texts)


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes."""
    return make_store(tmp_path_factory.mktemp("shared") / "store", TEXTS)


@pytest.fixture(scope="module")
def tree_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes, with a tree: 12 leaves, 4 last nodes, 2 above, the root."""
    root = make_store(tmp_path_factory.mktemp("tree") / "store", RECORDS)
    plant(root, fanout=3, text="topic {}")
    return root


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes, with a passage graph."""
    return make_chain(tmp_path_factory.mktemp("chain"), graph="links")


@pytest.fixture(scope="module")
def chain_receipt(chain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a receipt of an answer from `chain`."""
    path = tmp_path_factory.mktemp("receipt") / "receipt.json"
    made = cli("ask", QUESTION, "--store", chain, "--receipt", path)
    assert made.exit_code == 0, made.output
    return path
