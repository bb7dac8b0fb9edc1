"""Names that no passage has, taken for those that passages spell a little otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.agents import CHAIN, make_chain

from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.entities.extraction import entity_key
from hoptrail.rag.entities.query import link_unknown_names, query_entities
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store

TEXTS = ("Ilsa Corrin was a navigator.", "She met Otto Renn at Port Saben.")


def alike(texts: Sequence[str]) -> NDArray[np.float32]:
    """Every text means the same."""
    return np.ones((len(texts), 1), dtype=np.float32)


def unlike(texts: Sequence[str]) -> NDArray[np.float32]:
    """No text means what another does."""
    return np.eye(len(texts), dtype=np.float32)


@pytest.mark.parametrize(
    ("name", "taken_for"), [("Ilsa Corryn", "Ilsa Corrin"), ("Oto Ren", "Otto Renn")]
)
def test_a_slip_is_taken_for_the_name(name: str, taken_for: str) -> None:
    assert link_unknown_names({entity_key(name): name}, TEXTS, alike) == {
        entity_key(name): entity_key(taken_for)
    }


def test_a_name_like_no_other_is_left_alone() -> None:
    name = "Xanthippe Zebulon"
    assert link_unknown_names({entity_key(name): name}, TEXTS, alike) == {}


def test_the_embedder_has_the_last_word() -> None:
    name = "Ilsa Corryn"
    assert link_unknown_names({entity_key(name): name}, TEXTS, unlike) == {}


def test_of_several_like_names_the_nearest_is_taken() -> None:
    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return np.float32(
            [[1, 0] if text.endswith(("ryn", "ran")) else [0.6, 0.8] for text in texts]
        )

    name = "Ilsa Corryn"
    texts = ("Ilsa Corrin and Ilsa Corran were sisters.", "Ilsa Corran came first.")
    assert link_unknown_names({entity_key(name): name}, texts, embed)[
        entity_key(name)
    ] == entity_key("Ilsa Corran")


def test_a_question_means_both_names() -> None:
    question = query_entities("Where was Ilsa Corryn born?")
    both = question.meaning({entity_key("Ilsa Corryn"): entity_key("Ilsa Corrin")})
    assert both.mentions == {entity_key("Ilsa Corryn"), entity_key("Ilsa Corrin")}
    assert both.longest([entity_key("Ilsa Corrin")]) == {entity_key("Ilsa Corrin"): 2}


def test_a_misspelt_name_of_a_question_lifts_its_passage(tmp_path: Path) -> None:
    with Store.open(make_chain(tmp_path / "store", graph="links")) as store:
        searcher = Retriever(store, HashEmbedder())
        right = searcher.search("Where was Ilsa Corrin born?", mode="graph").hits[0]
        slip = searcher.search("Where was Ilsa Corryn born?", mode="graph").hits[0]
    assert slip.passage.title == right.passage.title == CHAIN["d2"][0]
    assert slip.score > 1.0
