from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.text.analyzer import (
    LANGUAGES,
    MOST_TERMS,
    Terms,
    analyzer,
    index_terms,
    rarest,
)


def test_words_are_lowered_folded_stopped_and_stemmed() -> None:
    assert analyzer("english").terms("The Cafés were SAILING, and 7 to Zürich!") == Terms(
        words=["cafe", "were", "sail", "7", "zurich"], forms=[]
    )


def test_repetitions_stay() -> None:
    assert index_terms("english", "ship ship's ships") == ["ship", "ship", "ship"]


def forms(text: str, language: str = "english") -> list[str]:
    return analyzer(language).terms(text).forms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Vessels of class A pay 11.", ["a"]),
        ("Is it hepatitis a?", ["a"]),
        ("A ship of class B's", ["b"]),
        ("Harbour\nA ship", []),
        ("a ship", []),
        ("the C compiler", ["c"]),
        ("the C++ compiler", ["c++"]),
        ("the C# compiler", ["c#"]),
        ("IT is on floor 3", ["it"]),
        ("It is on floor 3", []),
        ("don't, ship's, (1241)'s", []),
    ],
)
def test_a_single_letter_is_a_term_where_it_names_something(text: str, expected: list[str]) -> None:
    assert forms(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ERR-4012", "ERR4012"),
        ("ERR-4012", "err_4012"),
        ("F-16", "F16"),
        ("DIN-125-A", "din125a"),
        ("1,250,000", "1250000"),
        ("1.250.000", "1250000"),
        ("2,5", "2.5"),
        ("978-3-16-148410-0", "9783161484100"),
        ("U.S.", "US"),
        ("AT&T", "ATT"),
        ("O'Brien", "OBrien"),
        ("maxRetryCount", "max_retry_count"),
        ("maxRetryCount", "max retry count"),
        ("HTTPServer", "http server"),
        ("har\u00adbour", "harbour"),
        ("har\u200bbo\u2060ur", "harbour"),
        ("cafe\u0301", "café"),
        ("ﬁre", "fire"),
        ("ＡＢＣ１２", "ABC12"),
    ],
)
def test_two_spellings_of_one_thing_share_a_term(one: str, other: str) -> None:
    assert set(index_terms("english", one)) & set(index_terms("english", other))
    assert set(index_terms("english", other)) <= set(index_terms("english", one))


@pytest.mark.parametrize(
    "text",
    ["well-known", "the 1990s", "20th", "1914-1918", "McDonald", "DeVito", "and/or", "l'été"],
)
def test_plain_words_have_no_further_terms(text: str) -> None:
    assert forms(text) == []


def test_versions_that_differ_in_their_dots_differ() -> None:
    assert "2.10.3" in forms("v2.10.3")
    assert not set(forms("2.10.3")) & set(forms("2.1.03"))


def test_scripts_without_spaces_are_pairs_of_characters() -> None:
    assert analyzer("english").terms("灯油四桶, oil") == Terms(
        words=["灯油", "油四", "四桶", "oil"], forms=["灯", "油", "四", "桶"]
    )
    assert "倉庫" in index_terms("english", "北の倉庫には")
    assert set(index_terms("english", "น้ำมัน")) <= set(index_terms("english", "คลังเหนือเก็บน้ำมันสี่สิบ"))
    assert index_terms("english", "서울에서") == ["서울", "울에", "에서"]


def test_words_of_indian_scripts_are_whole() -> None:
    assert index_terms("english", "उत्तर गोदाम") == ["उततर", "गोदाम"]


def test_letter_sequences_find_the_parts_of_compounds() -> None:
    whole = set(index_terms("german+ngrams", "Donaudampfschifffahrtsgesellschaft"))
    assert {"schif", "damp", "dampf"} & whole
    assert not set(index_terms("german", "Schiff")) & set(index_terms("german", "Dampfschiff"))
    assert set(index_terms("german+ngrams", "Schiff")) & set(
        index_terms("german+ngrams", "Dampfschiff")
    )


def test_of_a_long_query_the_rarest_terms_count() -> None:
    frequencies = {f"word{n}": 9 for n in range(MOST_TERMS)} | {"seldom": 1, "none": 0}
    kept = rarest(dict.fromkeys(frequencies, 1), lambda term: frequencies[term])
    assert len(kept) == MOST_TERMS
    assert "seldom" in kept
    assert "none" not in kept


def test_a_run_of_hundreds_of_letters_is_no_word() -> None:
    assert index_terms("english", "q" * 300 + " ship") == ["ship"]


def test_query_syntax_is_text() -> None:
    assert index_terms("english", 'title:"ship" AND -(sea) OR body:*~2') == [
        "titl", "ship", "sea", "bodi", "2", "and", "or"
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
    assert not any(set(one) & set(" \n\t") for one in found)


@given(st.text(alphabet=st.sampled_from("aAbB1.,'&-_+# \u00ad油のกख\u093eé\n")))
def test_terms_of_odd_texts_are_those_of_the_text_without_invisible_characters(text: str) -> None:
    assert index_terms("english", text) == index_terms("english", text.replace("\u00ad", ""))
    assert set(forms(text)) == set(forms(text.replace("a\u00ad", "a")))
