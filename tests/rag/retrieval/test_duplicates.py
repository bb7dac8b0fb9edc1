"""Copies of one text take one place, and nothing that says something else is hidden."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.retrieval.duplicates import group_copies
from hoptrail.rag.retrieval.retriever import Retriever
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import (
    Document,
    IndexedDocument,
    Mode,
    Passage,
    embedding_text,
    passage_id,
)

EMBEDDER = HashEmbedder(32)
MODES: tuple[Mode, ...] = ("graph", "hybrid", "lexical", "dense")
LONG = (
    "The harbour board of Vesk publishes its charges every spring after a hearing of the boat "
    "owners, the fish buyers and the parish council. Charges are paid at the window on the quay "
    "before the vessel leaves, and a receipt is given for each. Vessels in distress pay nothing."
)


def passage(name: str, text: str, title: str = "") -> Passage:
    return Passage(
        id=passage_id(name, 0, len(text)),
        document_id=name,
        start=0,
        end=len(text),
        title=title,
        text=text,
    )


def are_copies(one: str, other: str, titles: tuple[str, str] = ("", "")) -> bool:
    passages = [passage("a", one, titles[0]), passage("b", other, titles[1])]
    return len(group_copies(passages)) == 1


@pytest.mark.parametrize(
    "other",
    [
        LONG.upper(),
        LONG.replace(" ", "\n  "),
        LONG.replace(",", ""),
        LONG.replace("harbour", "har\u00adbour"),
        LONG.replace("harbour", "harbor"),
        LONG + " Reprinted by the Gazette.",
        "Vesk, Monday. " + LONG,
    ],
)
def test_texts_that_say_the_same_are_copies(other: str) -> None:
    assert are_copies(LONG, other)
    assert are_copies(other, LONG)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{LONG} Class A pays 11 crowns.", f"{LONG} Class B pays 23 crowns."),
        (f"{LONG} The keeper is Tilda Roen.", f"{LONG} The keeper is Jon Hauk."),
        (f"In 1912: {LONG}", f"In 1913: {LONG}"),
        (LONG, LONG.replace("is given", "is not given")),
        (LONG, LONG.replace("nothing", "everything")),
        (LONG, LONG.replace("paid", "unpaid")),
        ("The C compiler", "The C++ compiler"),
        ("It cost 2.5 crowns", "It cost -2.5 crowns"),
        ("Built by Tilda Roen", "Built by Tilda Rosen"),
        (LONG, LONG + LONG),
    ],
)
def test_texts_that_say_something_else_are_none(one: str, other: str) -> None:
    assert not are_copies(one, other)


def test_a_short_text_under_another_title_is_about_something_else() -> None:
    assert not are_copies("Born in Vesk in 1902.", "Born in Vesk in 1902.", ("Holm", "Hauk"))
    assert are_copies("Born in Vesk in 1902.", "Born in Vesk in 1902.", ("Holm", "Holm"))
    assert are_copies(LONG, LONG, ("Gazette", "Courier"))


def test_a_title_made_from_the_file_says_nothing() -> None:
    copies = [passage(f"site/copy-{n}.txt", "Roen built it.", f"copy-{n}") for n in range(3)]
    assert [group.members for group in group_copies(copies)] == [(0, 1, 2)]


def test_of_two_copies_the_longer_is_shown() -> None:
    short, long = passage("a", LONG), passage("b", LONG + " Reprinted by the Gazette.")
    assert [(one.first, one.shown) for one in group_copies([short, long])] == [(0, 1)]


def test_long_repetitive_texts_are_compared_in_little_time() -> None:
    texts = [" ".join(["spam"] * (5000 + n) + ["1"] * (n % 3)) for n in range(30)]
    started = time.process_time()
    group_copies([passage(f"d{n}", text) for n, text in enumerate(texts)])
    assert time.process_time() - started < 30


@given(st.lists(st.text(alphabet="abA1 .\u00ad", max_size=12), max_size=12))
def test_every_passage_is_in_one_group_in_the_order_of_the_first(texts: list[str]) -> None:
    groups = group_copies([passage(f"d{n}", text) for n, text in enumerate(texts)])
    members = [member for group in groups for member in group.members]
    assert sorted(members) == list(range(len(texts)))
    assert [group.first for group in groups] == sorted(group.first for group in groups)
    assert all(group.first == group.members[0] for group in groups)
    assert all(group.shown in group.members for group in groups)


@given(
    st.lists(
        st.sampled_from(["ship", "sea", "ice", "class", "A", "B", "1", "2", "not", "harbour"]),
        max_size=30,
    )
)
def test_no_word_of_a_copy_is_missing_from_what_is_shown(words: list[str]) -> None:
    texts = [" ".join(words[:n]) for n in range(len(words), max(0, len(words) - 5), -1)]
    for group in group_copies([passage(f"d{n}", text) for n, text in enumerate(texts)]):
        assert all(texts[one] in texts[group.shown] for one in group.members)


def indexed(name: str, text: str) -> IndexedDocument:
    one = passage(name, text, name)
    return IndexedDocument(
        document=Document(id=name, title=name, text=text),
        passages=(one,) if text else (),
        vectors=EMBEDDER.embed([embedding_text(one)]),
        fingerprint=name,
    )


PRESS = "The harbour office of Vesk was built by Tilda Roen."
SECOND = "The second harbour office of Vesk was built by Jon Hauk after the fire of 1940."


@pytest.fixture(scope="module")
def press(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    """150 copies of a text, more than any index is asked for, and two others."""
    spec = StoreSpec(embedder=EMBEDDER.id, dimension=32)
    with Store.create(tmp_path_factory.mktemp("press"), spec) as store:
        texts = {f"copy-{n}": PRESS for n in range(150)}
        texts |= {"office2": SECOND, "roen": "Tilda Roen studied in Corvenne."}
        store.commit([indexed(name, text) for name, text in texts.items()])
        yield Retriever(store, EMBEDDER)


@pytest.mark.parametrize("mode", MODES)
def test_copies_do_not_hide_the_second_answer(press: Retriever, mode: Mode) -> None:
    hits = press.search("Who built the harbour office of Vesk?", k=3, mode=mode).hits
    assert [hit.passage.text for hit in hits[:2]] == [PRESS, SECOND]
    assert len(hits[0].copies) == 149
    assert {one.text for one in hits[0].copies} == {PRESS}
    assert [hit.copies for hit in hits[1:]] == [()] * (len(hits) - 1)
    assert len({hit.passage.text for hit in hits}) == len(hits)
