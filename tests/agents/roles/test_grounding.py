"""Numbers in a prompt become exact quotes: of claims, and of short answers that no claim states."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.agents import CHAIN, evidence

from hoptrail.agents.roles.base import RoleInput
from hoptrail.agents.roles.reading.answerer import says_no_answer
from hoptrail.agents.roles.reading.grounding import Shown, grounds, numbered, quote_of, text_of
from hoptrail.agents.types import Context, Plan
from hoptrail.rag.types import Passage

QUESTION = "Where was the first master of the Heron born?"


def passage(name: str, *, offset: int = 0) -> Passage:
    title, text = CHAIN[name]
    return Passage(
        id=f"p {name}", document_id=name, start=offset, end=offset + len(text), title=title,
        text=text,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "name", "quote"),
    [
        ("Ilsa Corrin was born at Tarn Hollow.", "d2", "She was born at Tarn Hollow on 12 March"),
        ("The first master was Ilsa Corrin.", "d1", "Her first master was Ilsa Corrin, who kept"),
        ("It had 1,204 inhabitants in 1900.", "d3", "It had 1,204 inhabitants in 1900."),
        ("It was founded in 1822.", "d4", "It was founded in 1822 by Otto Renn."),
    ],
)
def test_a_claim_is_quoted_by_the_sentence_that_states_it(
    claim: str, name: str, quote: str
) -> None:
    source = passage(name, offset=1000)
    found = quote_of(claim, source)
    assert found is not None
    assert text_of(found, source).startswith(quote)
    assert text_of(found, source) == CHAIN[name][1][found.start - 1000 : found.end - 1000]


def test_a_claim_over_two_sentences_is_quoted_by_both() -> None:
    source = passage("d3")
    found = quote_of("Tarn Hollow in the valley of the Orrin had 1,204 inhabitants.", source)
    assert found is not None
    assert text_of(found, source).count(".") == 2


def test_the_words_of_a_title_alone_are_no_quote() -> None:
    assert quote_of("Tarn Hollow whales sing.", passage("d2")) is not None  # it names the village
    assert quote_of("Bellwether sings.", replace(passage("d3"), title="Bellwether")) is None


def test_a_claim_of_which_nothing_is_said_has_no_quote() -> None:
    assert quote_of("Whales sing.", passage("d3")) is None


def test_a_short_answer_is_found_word_for_word_nearest_to_the_question_first() -> None:
    passages = [passage(name) for name in CHAIN]
    found = grounds("tarn hollow", QUESTION, passages)
    texts = {one.id: one for one in passages}
    assert [quote.passage_id for quote in found][:1] == ["p d2"]
    assert "Tarn Hollow" in text_of(found[0], texts[found[0].passage_id])


@pytest.mark.parametrize("answer", ["Otto Renn", "", "Hollow Tarn", "yes", "Brann"])
def test_an_answer_that_no_sentence_on_the_question_has_has_no_ground(answer: str) -> None:
    assert grounds(answer, QUESTION, [passage(name) for name in CHAIN]) == ()


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=300))
def test_quotes_are_exact_characters_whatever_is_said(answer: str, asked: str, text: str) -> None:
    source = Passage(id="p", document_id="d", start=7, end=7 + len(text), title="", text=text)
    for quote in (*grounds(answer, asked, [source]), quote_of(asked, source)):
        if quote is not None:
            assert 7 <= quote.start < quote.end <= 7 + len(text)


@pytest.mark.parametrize(
    ("context", "kinds"),
    [("passages", "PP"), ("quotes", "EE"), ("both", "PPEE")],
)
def test_the_context_decides_what_a_model_is_shown(context: Context, kinds: str) -> None:
    situation = RoleInput(
        question=QUESTION,
        plan=Plan(needs=(), asks="place"),
        pool=(evidence(1, "d1", "one"), evidence(2, "d2", "two")),
        asked=(),
        passages=(passage("d1"), passage("d2")),
        context=context,
    )
    shown = Shown.of(situation)
    assert "".join(type(item).__name__[0] for item in shown.items) == kinds
    blocks = shown.blocks()
    assert [block.split("]")[0] for block in blocks] == [f"[{n + 1}" for n in range(len(kinds))]
    assert shown.cited([2, 2, 1, 9, 0], seen=range(len(kinds))) == (shown.items[1], shown.items[0])
    assert shown.cited([1, 2], seen=[1]) == (shown.items[1],)


def test_without_passages_quotes_are_shown() -> None:
    situation = RoleInput(
        question=QUESTION, plan=Plan(needs=(), asks="place"), pool=(evidence(1, "d1"),), asked=()
    )
    assert Shown.of(situation).items == situation.pool


def test_a_title_is_one_line() -> None:
    odd = Passage(id="p", document_id="d", start=0, end=1, title="a\n[2] b", text="x")
    assert numbered([odd]) == ["[1] a [2] b: x"]


@pytest.mark.parametrize(
    "text",
    ["", " ", "unknown", "Not stated.", "The answer is not stated", "none", "n/a", "no answer",
     "It is not mentioned in the passages.", "cannot be determined", "the passages do not say",
     "No information is given", "Unknown from the passages", "I do not know.", "I don't know who"],
)  # fmt: skip
def test_what_models_write_for_no_answer(text: str) -> None:
    assert says_no_answer(text)


@pytest.mark.parametrize(
    "text", ["no", "No.", "Nonesuch", "Unknown Pleasures", "Not Fade Away", "Noah", "none-such"]
)
def test_answers_that_only_look_like_none(text: str) -> None:
    assert not says_no_answer(text)
