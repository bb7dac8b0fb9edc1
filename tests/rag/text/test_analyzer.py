from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.text.analyzer import LANGUAGES, analyzer, index_terms


def test_words_are_lowered_folded_stopped_and_stemmed() -> None:
    assert index_terms("english", "The Cafés were SAILING, and x 7 to Zürich!") == [
        "cafe", "were", "sail", "7", "zurich"
    ]  # fmt: skip


def test_single_letters_go_but_repetitions_stay() -> None:
    assert index_terms("english", "ship s ship's a b ships") == ["ship", "ship", "ship"]


def test_a_run_of_hundreds_of_letters_is_no_word() -> None:
    assert index_terms("english", "q" * 300 + " ship") == ["ship"]


def test_query_syntax_is_text() -> None:
    assert index_terms("english", 'title:"ship" AND -(sea) OR body:*~2') == [
        "titl", "ship", "sea", "bodi", "2"
    ]  # fmt: skip


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_listed_has_stop_words_and_a_stemmer(language: str) -> None:
    assert analyzer(language) is analyzer(language)


def test_accented_stop_words_are_stopped() -> None:
    assert index_terms("spanish", "él está más cerca") == ["cerc"]


def test_an_unknown_language_lists_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"'klingon'.*danish.*swedish"):
        analyzer("klingon")


@given(st.text())
def test_analysing_is_deterministic_and_never_fails(text: str) -> None:
    found = index_terms("english", text)
    assert found == index_terms("english", text)
    assert all(found)
