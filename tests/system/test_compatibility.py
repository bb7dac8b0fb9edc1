"""What was written before the files and classes moved still opens and replays.

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


@pytest.mark.parametrize("name", RUNS)
def test_an_old_receipt_is_read_and_written_again_with_all_it_said(name: str) -> None:
    text = (OLD / f"{name}.receipt.json").read_text("utf-8")
    receipt = Receipt.parse(text)
    assert receipt.question == QUESTION
    old, written = json.loads(text), receipt.record()
    assert {key: written[key] for key in old} == old
    assert Receipt.parse(receipt.json()) == receipt


@pytest.mark.parametrize("name", RUNS)
def test_an_old_recording_replays_to_its_receipt(name: str) -> None:
    replayed = replay(OLD / f"{name}.jsonl")
    assert replayed.same
    old = Receipt.parse((OLD / f"{name}.receipt.json").read_text("utf-8"))
    assert replayed.receipt.canonical() == old.canonical()


def test_an_old_store_opens_is_sound_and_finds(store: Path) -> None:
    assert fsck(store).problems == ()
    with Store.open(store, embedder=HashEmbedder()) as opened:
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
