"""What was written before the files and classes moved still opens.

`before_the_move/` was made at commit d55388b: a store of the eight documents of
`support.agents.CHAIN` with passage graph and tree, and a recording with its receipt for four runs.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from support.agents import CHAIN, QUESTION

from hoptrail.agents import Receipt, ask, replay
from hoptrail.agents.runs.recording import RecordingError
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.fsck import fsck
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.view import load_tree

OLD = Path(__file__).parent / "before_the_move"
RUNS = ("lattice_local", "pool_local", "pool_served", "single_graph")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(OLD / "store.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "store"


def within(old: object, new: object) -> bool:
    """Whether a JSON value has everything of an older one; it may have further fields."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(key in new and within(value, new[key]) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(within, old, new))
    return old == new


@pytest.mark.parametrize("name", RUNS)
def test_an_old_receipt_is_read_and_keeps_all_it_had(name: str) -> None:
    text = (OLD / f"{name}.receipt.json").read_text("utf-8")
    receipt = Receipt.parse(text)
    assert receipt.question == QUESTION
    assert within(json.loads(text), json.loads(receipt.json()))


@pytest.mark.parametrize("name", RUNS)
def test_an_old_recording_is_refused_with_what_to_do(name: str) -> None:
    """Format 1 has one clock for all branches: it cannot say what a parallel branch saw."""
    with pytest.raises(RecordingError, match=r"has recording format 1, .*: record again"):
        replay(OLD / f"{name}.jsonl")


def test_an_old_store_opens_is_sound_and_finds(
    store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its lexical index has the terms of an older analyser, and is built anew with a word."""
    assert [one.kind for one in fsck(store).problems] == ["lexical"]
    with Store.open(store, embedder=HashEmbedder()) as opened:
        assert "was written by another version of hoptrail; building it anew" in caplog.text
        assert fsck(store).problems == ()
        assert opened.spec.graph == "links"
        hits = Retriever(opened, HashEmbedder()).search(QUESTION, k=20).hits
        assert {hit.passage.document_id for hit in hits} == set(CHAIN)
        assert len(load_tree(opened).nodes) >= 1


@pytest.mark.parametrize(
    ("strategy", "name"), [("pool", "pool_local"), ("lattice", "lattice_local")]
)
def test_an_old_store_is_asked_as_before(store: Path, strategy: str, name: str) -> None:
    receipt = ask(QUESTION, store, embedder=HashEmbedder(), strategy=strategy)
    old = Receipt.parse((OLD / f"{name}.receipt.json").read_text("utf-8"))
    assert receipt.answer == old.answer
    assert [item.quote for item in receipt.evidence] == [item.quote for item in old.evidence]
