"""What verification drops, what it keeps, and what an answer may then still say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import evidence

from hoptrail.agents.roles.claim_rules.claim_check import check, unsupported
from hoptrail.agents.roles.claim_rules.quantities import MONTHS
from hoptrail.agents.roles.verifier import verify
from hoptrail.agents.types import Answer, Claim, Evidence


def quote(number: int, text: str, title: str = "") -> Evidence:
    return evidence(number, f"d{number}", text, title=title)


BORN = quote(1, "She was born at Tarn Hollow on 12 March 1851.", "Ilsa Corrin")
SIZE = quote(2, "It had 1,204 inhabitants in 1900.", "Tarn Hollow")
POOL = (BORN, SIZE)


def claim(text: str, *evidence: str) -> Claim:
    return Claim(text=text, evidence=evidence or ("e1",))


def verdict(text: str, *evidence: str) -> tuple[str, str]:
    checked = check(claim(text, *evidence), {item.id: item for item in POOL})
    return checked.verdict, checked.reason


@pytest.mark.parametrize(
    ("text", "evidence"),
    [
        ("She was born at Tarn Hollow.", ("e1",)),
        ("Ilsa Corrin was born in March 1851.", ("e1",)),
        ("ILSA CÓRRIN was born at Tarn-Hollow.", ("e1",)),
        ("It had 1204 inhabitants.", ("e2",)),
        ("Tarn Hollow had 1.204 inhabitants in 1900.", ("e2",)),
        ("Corrin, born 1851, came from where 1,204 people lived.", ("e1", "e2")),
    ],
)
def test_a_claim_whose_names_and_numbers_stand_in_its_quotes_holds(
    text: str, evidence: tuple[str, ...]
) -> None:
    assert verdict(text, *evidence) == ("holds", "")


@pytest.mark.parametrize(
    ("text", "evidence", "missing"),
    [
        ("Otto Renn was born at Tarn Hollow.", ("e1",), "Otto Renn"),
        ("She was born in 1852.", ("e1",), "1852"),
        ("She was born in May 1851.", ("e1",), "may"),
        ("she was born in april", ("e1",), "april"),
        ("It had 1,205 inhabitants.", ("e2",), "1205"),
        ("It had 204 inhabitants.", ("e2",), "204"),
        ("It had 1,204 inhabitants.", ("e1",), "1204"),
        ("Tarn Valley is where she was born.", ("e1", "e2"), "Tarn Valley"),
        # Each name must stand whole in one quote: words of two do not make a name.
        ("Corrin Inhabitants are many", ("e1", "e2"), "Corrin Inhabitants"),
    ],
)
def test_a_claim_with_a_foreign_name_number_or_date_is_dropped(
    text: str, evidence: tuple[str, ...], missing: str
) -> None:
    assert verdict(text, *evidence) == ("dropped", f"not in its quotes: {missing}")


def test_every_missing_thing_is_named() -> None:
    said = unsupported("Otto Renn saw 7 ships in June.", [BORN])
    assert said == ("Otto Renn", "7", "june")


def test_citations_that_point_nowhere_are_struck() -> None:
    checked = check(claim("She was born.", "e9", "e1", "e1"), {"e1": BORN})
    assert (checked.evidence, checked.verdict) == (("e1",), "holds")
    assert verdict("She was born.", "e9", "x") == ("dropped", "cites no known evidence")
    assert check(Claim(text="x", evidence=()), {"e1": BORN}).verdict == "dropped"


def test_a_claim_that_says_nothing_is_dropped() -> None:
    assert verdict("  \n") == ("dropped", "says nothing")


def answered(text: str, *claims: Claim, extractive: bool = False) -> Answer:
    return verify(Answer(text=text, claims=claims, extractive=extractive), POOL)


def test_an_answer_may_join_the_quotes_of_its_claims() -> None:
    found = answered("Corrin, 1900", claim("Corrin was born."), claim("In 1900.", "e2"))
    assert (found.text, found.replaced) == ("Corrin, 1900", False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("49", "the difference of 1900 and 1851"),
        ("3751 in all", "the sum of 1851 and 1900"),
        ("2", "a count of quotes"),
        ("1204", "as the quote has it"),
        ("yes", "a claim affirms"),
    ],
)
def test_an_answer_may_state_what_follows_from_its_quotes(text: str, why: str) -> None:
    found = answered(text, claim("born in 1851"), claim("in 1900", "e2"))
    assert (found.text, found.replaced) == (text, False), why


@pytest.mark.parametrize("text", ["Otto Renn", "48 years", "3 villages", "", "   "])
def test_an_answer_that_says_more_is_replaced_by_its_claims(text: str) -> None:
    found = answered(text, claim("born in 1851"), claim("in 1900", "e2"))
    assert (found.text, found.replaced) == ("born in 1851\nin 1900", True)


@pytest.mark.parametrize(
    "said", ["Ilsa Corrin was born at Tarn Hollow.", "She was born at Tarn Hollow."]
)
@pytest.mark.parametrize(
    ("text", "question", "follows"),
    [
        ("yes", "Was Ilsa Corrin born at Tarn Hollow?", True),
        ("no", "Was Ilsa Corrin born at Tarn Hollow?", False),
        ("No.", "", False),
        ("Yes, at Tarn Hollow", "Was Ilsa Corrin born at Tarn Hollow?", True),
        ("no", "Was Ilsa Corrin not born at Tarn Hollow?", True),
        ("no", "Was Ilsa Corrin born at Maddock Yard?", True),
    ],
)
def test_yes_and_no_need_a_claim_that_does_not_say_otherwise(
    text: str, question: str, follows: bool, said: str
) -> None:
    claims = (claim(said),)
    found = verify(Answer(text=text, claims=claims, extractive=False), POOL, question)
    assert found.replaced is not follows


@pytest.mark.parametrize(
    "text", ["a bakery", "the daughter of a baker", "Corrin died at Tarn Hollow"]
)
def test_an_answer_in_words_that_no_claim_has_is_replaced(text: str) -> None:
    assert answered(text, claim("Corrin was born at Tarn Hollow.")).replaced


@pytest.mark.parametrize(
    ("text", "operator", "operands"),
    [
        ("49 years", "difference", ("1900", "1851")),
        ("3751", "sum", ("1900", "1851")),
        ("2", "count", ("e1", "e2")),
        ("1851", None, ()),
        ("forty-nine", "difference", ("1900", "1851")),
    ],
)
def test_a_number_that_no_claim_states_is_computed_and_the_computation_written_out(
    text: str, operator: str | None, operands: tuple[str, ...]
) -> None:
    found = answered(text, claim("born in 1851"), claim("in 1900", "e2"))
    assert not found.replaced
    if operator is None:
        assert found.computation is None
    else:
        assert found.computation is not None
        assert (found.computation.operator, found.computation.operands) == (operator, operands)
        assert found.computation.evidence == ("e1", "e2")


VOYAGE = quote(
    3,
    "In 1813 he was apprenticed to Anders Vorle. The tank holds 400 cubic metres. He did not go to "
    "sea. Music by Bastian Orrel, words by Tobiah Quennell. She kept it for eleven years.",
    "Tobias Quennault",
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("Kept for eleven years.", True),
        ("Kept for twelve years.", False),
        ("Kept for 11 years.", True),
        ("The tank holds 400 cubic feet.", False),
        ("The tank holds 400 million cubic metres.", False),
        ("The tank holds -400 cubic metres.", False),
        ("Quennault went to sea.", False),
        ("Quennault never went to sea.", True),
        ("Tobias Quennault was apprenticed to Anders Vorle.", True),
        ("Anders Vorle was apprenticed to Tobias Quennault.", False),
        ("The music is by Tobiah Quennell.", False),
        ("The music is by Bastian Orrel.", True),
        ("tobias quennault was apprenticed to a man of calmeida", False),
        ("He painted portraits of wealthy bankers.", False),
    ],
)
def test_units_polarity_parts_and_inventions_are_seen(text: str, holds: bool) -> None:
    checked = check(claim(text, "e3"), {"e3": VOYAGE})
    assert (checked.verdict == "holds") is holds, checked.reason
    assert checked.checked_by == "code"


def test_what_a_dropped_claim_cited_supports_nothing() -> None:
    found = answered("1851", claim("Otto Renn, 1851"), claim("in 1900", "e2"))
    assert [c.verdict for c in found.claims] == ["dropped", "holds"]
    assert (found.text, found.replaced) == ("in 1900", True)


def test_nothing_is_said_where_no_claim_holds() -> None:
    found = answered("Tarn Hollow", claim("Otto Renn"))
    assert (found.text, found.replaced) == ("", True)
    assert answered("Tarn Hollow").text == ""


def test_an_extractive_answer_is_its_claims() -> None:
    found = answered("whatever", claim(BORN.quote), claim("Otto Renn"), extractive=True)
    assert (found.text, found.replaced) == (BORN.quote, False)


QUOTES = st.lists(
    st.tuples(
        st.text(min_size=1, max_size=60).filter(str.strip),
        st.sampled_from(["", "Ilsa Corrin", "Heron (ship)"]),
    ),
    min_size=1,
    max_size=4,
)
SAYINGS = st.one_of(
    st.text(max_size=40),
    st.lists(
        st.sampled_from(["Ilsa", "Corrin", "Renn", "1851", "1,204", "March", "born", "at", "."]),
        max_size=8,
    ).map(" ".join),
)
CLAIMS = st.lists(
    st.builds(
        Claim,
        text=SAYINGS,
        evidence=st.lists(st.sampled_from(["e1", "e2", "e3", "e9", ""]), max_size=3).map(tuple),
    ),
    max_size=4,
)


def pool_of(texts: Sequence[tuple[str, str]]) -> tuple[Evidence, ...]:
    return tuple(quote(i, text, title) for i, (text, title) in enumerate(texts, start=1))


@given(QUOTES)
@settings(max_examples=60)
def test_the_claims_of_an_extractive_answer_always_hold(texts: list[tuple[str, str]]) -> None:
    pool = pool_of(texts)
    claims = tuple(Claim(text=item.quote, evidence=(item.id,)) for item in pool)
    found = verify(Answer(text="", claims=claims, extractive=True), pool)
    assert [c.verdict for c in found.claims] == ["holds"] * len(pool)
    assert found.text == "\n".join(item.quote for item in pool)


@given(QUOTES, CLAIMS, SAYINGS, st.booleans())
@settings(max_examples=150, deadline=None)
def test_what_holds_cites_known_evidence_and_says_nothing_beyond_it(
    texts: list[tuple[str, str]], claims: list[Claim], text: str, extractive: bool
) -> None:
    pool = pool_of(texts)
    known = {item.id: item for item in pool}
    found = verify(Answer(text=text, claims=tuple(claims), extractive=extractive), pool)
    assert [c.text for c in found.claims] == [c.text for c in claims]
    for one in found.claims:
        assert one.verdict in ("holds", "dropped")
        assert (one.verdict == "dropped") == bool(one.reason)
        assert set(one.evidence) <= set(known)
        if one.verdict == "holds":
            assert one.evidence
            assert unsupported(one.text, [known[e] for e in one.evidence]) == ()
    assert bool(found.text) <= any(c.verdict == "holds" for c in found.claims)
    assert verify(found, pool).claims == found.claims


def test_the_months_are_twelve() -> None:
    assert len(MONTHS) == 12
    for month in MONTHS:
        assert verdict(f"in {month}")[0] == ("holds" if month == "march" else "dropped")
