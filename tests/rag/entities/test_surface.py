"""Names, numbers and dates found by their shape."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.entities.surface import casefolded, numbers, proper_names, surface_words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Ilsa Corrin was born at Tarn Hollow.", ("Ilsa Corrin", "Tarn Hollow")),
        ("Where was the first master of the Heron born?", ("Heron",)),
        ("In March she sailed for Port Saben on a Monday.", ("Port Saben",)),
        ("The Bay of Quills and the Isle of the Dead", ("Bay of Quills", "Isle of the Dead")),
        ("Ludwig van der Aa met J. R. Holm", ("Ludwig van der Aa", "J. R. Holm")),
        ("Mt. Orrin and St. Maud", ("Mt. Orrin", "St. Maud")),
        ("Élise O'Brien's boat", ("Élise O'Brien",)),
        ("Jean-Luc sailed; Jean-Luc sank", ("Jean-Luc",)),
        ("Apollo 11 and Route 66", ("Apollo 11", "Route 66")),
        ("Was Corrin or Renn older?", ("Corrin", "Renn")),
        ("Sam Dow, Jr. wrote it", ("Sam Dow, Jr",)),
        ("nothing here is named", ()),
        ("", ()),
    ],
)
def test_names_are_runs_of_capitalised_words(text: str, found: tuple[str, ...]) -> None:
    assert proper_names(text) == found


def test_a_name_is_given_once_however_it_is_written() -> None:
    assert proper_names("Élise came. ÉLISE left. Elise stayed.") == ("Élise",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1,204 men in 1900", ("1204", "1900")),
        ("1204 or 1.204 or 1,204,000", ("1204", "1204000")),
        ("3.50 and 3,5", ("3.50", "3,5")),
        ("12 March 1851, page 12.", ("12", "1851")),
        ("H2O at 7pm", ("2", "7")),
        ("none", ()),
    ],
)
def test_numbers_lose_their_thousands_separators(text: str, found: tuple[str, ...]) -> None:
    assert numbers(text) == found


def test_folding_takes_away_case_accents_and_white_space() -> None:
    assert casefolded("  Élise\n STRAẞE ") == "elise strasse"
    assert surface_words("Ilsa's “Hollow”, 1851!") == ["ilsa", "s", "hollow", "1851"]


@given(st.text())
def test_folding_is_the_same_whatever_share_of_a_text_is_ascii(text: str) -> None:
    bare = unicodedata.normalize("NFKD", text)
    letters = "".join(one for one in bare if not unicodedata.combining(one))
    assert casefolded(text) == " ".join(letters.casefold().split())


@given(st.text(max_size=200))
def test_a_name_stands_in_its_text_word_by_word(text: str) -> None:
    have = surface_words(text)
    for name in proper_names(text):
        assert set(surface_words(name)) <= set(have)
        assert any(c.isalpha() for c in name)


@given(st.text(max_size=200))
def test_folding_twice_changes_nothing(text: str) -> None:
    assert casefolded(casefolded(text)) == casefolded(text)


@given(st.integers(0, 10**12))
def test_a_number_is_the_same_with_separators(number: int) -> None:
    assert numbers(f"{number:,}") == numbers(str(number)) == (str(number),)
