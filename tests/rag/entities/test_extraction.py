"""Names that link passages: what is one name, what is about it, what mentions it, what may."""

from __future__ import annotations

import calendar
import hashlib
import re
import unicodedata
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hoptrail.rag.entities.extraction import (
    PassageEntities,
    entity_key,
    extract_entities,
    mentioned_entities,
)
from hoptrail.rag.entities.words import split_words


def only(text: str, title: str = "") -> PassageEntities:
    (found,) = extract_entities(title, [text])
    return found


def abouts(text: str, title: str = "") -> dict[int, float]:
    return dict(only(text, title).abouts)


def mentioned(text: str) -> list[str]:
    return list(mentioned_entities(text).values())


# What is one name


def test_a_key_is_a_polynomial_of_the_hashes_of_its_folded_words() -> None:
    first, second = (
        int.from_bytes(hashlib.blake2b(word, digest_size=8).digest(), "little")
        for word in (b"leo", b"tolstoy")
    )
    key = (first * 0x9E3779B97F4A7C15 + second) % 2**64
    assert entity_key("Léo TOLSTOY") == (key if key < 2**63 else key - 2**64)
    assert entity_key("") == entity_key("?! …") == 0


@pytest.mark.parametrize(
    "names",
    [
        ("Lothair II", "Lothair Ii", "LOTHAIR II"),
        ("J. R. R. Tolkien", "J.R.R. Tolkien", "J. R.R. Tolkien"),
        ("Zoë Bäck", "zoe back", "Zoe\u0308 Ba\u0308ck"),
        ("O'Brien", "O’Brien", "OBrien"),
        ("1,204 Oaks", "1204 oaks", "1.204 Oaks"),
        ("the U.S. Navy", "The US Navy"),
        ("Jean-Luc", "Jean Luc", "jean_luc"),
        ("Straße", "STRASSE"),
        ("Kalvik, Norway", "kalvik norway"),
        ("北京大学", "北 京 大 学"),
    ],
)
def test_spellings_of_one_name(names: Sequence[str]) -> None:
    assert len({entity_key(name) for name in names}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Martin Luther", "Luther Martin"),
        ("Apollo 11", "Apollo 1 1"),
        ("3.50", "350"),
        ("Ann", "Ann Ann"),
        ("Holm", "Holme"),
    ],
)
def test_different_names_have_different_keys(one: str, other: str) -> None:
    assert entity_key(one) != entity_key(other)


# What a passage is about


@pytest.mark.parametrize(
    ("title", "alias", "strength"),
    [
        ("The Ring (1969 film)", "The Ring (1969 film)", 1.0),
        ("The Ring (1969 film)", "the ring", 0.95),
        ("The Ring (1969 film)", "Ring", 0.9),
        ("A Dangerous Wind", "Dangerous Wind", 0.9),
        ("Beatles", "The Beatles", 0.9),
        ("Tolkien, J. R. R.", "J.R.R. Tolkien", 0.8),
        ("Redmond, Utah", "Redmond", 0.7),
        ("John Ronald Reuel Tolkien", "J. R. R. Tolkien", 0.6),
        ("John Ronald Reuel Tolkien", "John Tolkien", 0.6),
        ("John Ronald Reuel Tolkien", "John R. R. Tolkien", 0.6),
        ("Martin Luther King Jr.", "Martin King Jr.", 0.6),
    ],
)
def test_titles_and_their_other_forms(title: str, alias: str, strength: float) -> None:
    assert abouts("Some text that names nothing.", title)[entity_key(alias)] == strength


@pytest.mark.parametrize("title", ["(film)", "?", "", "  ", "()", ")(", "the", "Tolkien,"])
def test_odd_titles(title: str) -> None:
    found = abouts("", title)
    assert all(0 < strength <= 1 for strength in found.values())
    assert 0 not in found


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("Ivo Falk (born 1912) was a painter.", "Ivo Falk"),
        ('"Whistling in Dixie" is a song.', "Whistling in Dixie"),
        ("The Exies were a band from Kalvik.", "The Exies"),
        ("The Exies were a band from Kalvik.", "Exies"),
        ("Ann Mary Lind is a chemist.", "Ann Lind"),
        ("Ann Mary Lind is a chemist.", "A. M. Lind"),
        ("Henry Stafford, 1st Baron Stafford, was born in Kent.", "Henry Stafford"),
        ("kalvik harbour is a port in the north, built by the monks.", "kalvik harbour"),
        ("北京大学（1898年）是中国的大学。", "北京大学"),
    ],
)
def test_an_untitled_passage_is_about_what_it_opens_with(text: str, subject: str) -> None:
    assert abouts(text)[entity_key(subject)] > 0.5


@pytest.mark.parametrize(
    "text",
    [
        "Norway: item seven.",
        "Ann Lind, Bo Falk, Carl Moe, Dora Vik.",
        "In 1912 the painter Ivo Falk was born.",
        "It was built by Ivo Falk.",
        "The harbour of Kalvik is old. Ivo Falk was born there.",
        "Twinkie defense is a label. Ivo Falk coined it.",
        "",
    ],
)
def test_what_opens_with_no_subject_is_about_nothing(text: str) -> None:
    assert abouts(text) == {}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Dora Vik (née Dora Rask; 1912) was a painter.", "Dora Rask"),
        ("Bo Lind, better known as Captain Oak, was a pilot.", "Captain Oak"),
        ("Kalvik, formerly Nordby, is a town.", None),
        ("Kalvik (formerly Nordby) is a town.", "Nordby"),
        ("International Boat Makers (IBM) is a firm.", "IBM"),
        ("The Union of Old Mills (UOM) is a club.", "UOM"),
        ("The mills of the old Union (UOM) are many.", None),
        ("Bo Lind, a Paris-born Dane, was a pilot.", None),
        ("Bo Lind was a pilot. Later he was known as Captain Oak.", None),
    ],
)
def test_other_names_of_a_subject_stand_in_its_first_sentence(text: str, name: str | None) -> None:
    first = abouts(text)
    strong = {key for key, strength in first.items() if strength == 0.8}
    assert strong == ({entity_key(name)} if name else set())


def test_a_list_of_names_is_about_none_of_them() -> None:
    people = [f"{first} {last}" for first in FIRST for last in LAST]
    assert abouts(" ".join(f"{one} is in it." for one in people)) == {}
    assert entity_key(people[0]) not in abouts("Nothing.", ", ".join(people))


def test_later_passages_of_an_untitled_document_are_less_about_its_subject() -> None:
    first, second, third = extract_entities(
        "", ["Ivo Falk was a painter.", "He died.", "Bo Moe was not."]
    )
    key = entity_key("Ivo Falk")
    assert dict(first.abouts)[key] > dict(second.abouts)[key] == dict(third.abouts)[key] > 0
    assert dict(third.abouts)[entity_key("Bo Moe")] == dict(first.abouts)[key]


@pytest.mark.parametrize(
    ("title", "strength"),
    [
        ("Ivo Falk", 1.0),
        ("Falk (painter)", 0.6),
        ("Works of Falk", 0.6),
        ("notes_17.txt", 0.9),
        ("Chapter 3", 0.9),
        ("2024-05-01", 0.9),
        ("", 0.9),
    ],
)
def test_what_a_titled_passage_opens_with_counts_less_if_the_title_tells(
    title: str, strength: float
) -> None:
    assert abouts("Ivo Falk was a painter of portraits.", title)[entity_key("Ivo Falk")] == strength


def test_all_passages_are_about_the_title() -> None:
    assert [
        dict(one.abouts)[entity_key("Kalvik")]
        for one in extract_entities("Kalvik", ["One.", "Two."])
    ] == [
        1.0,
        1.0,
    ]
    assert extract_entities("Kalvik", []) == []


# What it mentions


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("The poet met Zoë van Dyck near Rome.", ["Zoë van Dyck", "Rome"]),
        ("He saw St. Olav and Dr. B. Moe.", ["St. Olav and Dr. B. Moe", "St. Olav", "Dr. B. Moe"]),
        ("She left Kim Jong-il in Paris-based firms.", ["Kim Jong-il", "Paris"]),
        ("At the University of Oslo he slept.", ["University of Oslo", "Oslo"]),
        ("Therefore he went. Born in Rome, he left.", ["Rome"]),
        ("On Monday, in May, we saw Apollo 11.", ["Apollo 11"]),
        ("he read “Ashes and snow” twice in Kalvik", ["Ashes", "Kalvik", "Ashes and snow"]),
        ("IBM's head met the mayor of Nes.", ["IBM", "Nes"]),
        ("Nes.\r\nKalvik", ["Nes", "Kalvik"]),
    ],
)
def test_mentions_as_they_stand(text: str, names: list[str]) -> None:
    assert mentioned(text) == names


@pytest.mark.parametrize(
    "text", ["born on 8 March 1911 there", "born on March 8, 1911, there", "March 8 1911"]
)
def test_full_dates_are_one_name_however_written(text: str) -> None:
    assert entity_key("1911-03-08") in only(f"Bo Moe of Kalvik was {text}").mentions


@pytest.mark.parametrize("text", ["March 32, 1911", "8 March", "in March 1911", "8 May 19110"])
def test_parts_of_dates_are_none(text: str) -> None:
    years = ("1911", "19110")
    dates = {entity_key(f"{year}-{m:02}-{d:02}") for year in years for m in (3, 5) for d in (8, 32)}
    assert not dates & set(only(f"Bo Moe of Kalvik wrote {text}").mentions)


def test_a_surname_after_the_full_name_is_the_full_name() -> None:
    first, second = extract_entities(
        "", ["He met Ivo Falk. Later Falk left.", "By then Falk was old."]
    )
    whole, surname = entity_key("Ivo Falk"), entity_key("Falk")
    for found in (first, second):
        assert whole in found.mentions
        assert surname not in found.mentions
        assert {whole, surname} <= {*found.candidates}


@pytest.mark.parametrize(
    "texts",
    [
        ["By then Falk was old.", "He met Ivo Falk."],
        ["He met Ivo Falk and her. He met Ann Falk.", "By then Falk was old."],
        ["They left the University of Falk.", "By then Falk was old."],
    ],
)
def test_a_surname_of_nobody_or_of_two_is_a_name_of_its_own(texts: list[str]) -> None:
    assert any(entity_key("Falk") in found.mentions for found in extract_entities("", texts))
    assert not any(
        entity_key("Ivo Falk") in found.mentions and "then" in text
        for found, text in zip(extract_entities("", texts), texts, strict=True)
    )


# Texts whose capitals say nothing


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("the poet left san francisco for the old mill", ["poet left san francisco", "old mill"]),
        ("THE KING OF SPAIN AND THE OLD MILL", ["KING", "SPAIN", "OLD MILL"]),
        ("他毕业于北京大学。", ["毕业", "北京大学"]),
        ("東京タワーは東京都にある。", ["東京タワー", "東京都"]),
        ("ولد نجيب محفوظ في القاهرة.", ["ولد نجيب محفوظ", "القاهرة"]),
        ("and of the, 12 at on", []),
    ],
)
def test_key_phrases_stand_for_names(text: str, phrases: list[str]) -> None:
    assert mentioned(text) == phrases


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("他后来在北京大学学习，又到上海。", "北京大学"),
        ("we saw the lord of the flies and left", "Lord of the Flies"),
        ("그는 서울 대학교 에서 공부했다", "서울 대학교"),
        ("वह दिल्ली विश्वविद्यालय में है", "दिल्ली विश्वविद्यालय"),
        ("הוא למד בעיר תל אביב", "תל אביב"),
    ],
)
def test_titles_are_found_in_texts_without_capitals(text: str, title: str) -> None:
    assert entity_key(title) in only(text).candidates


# Anything at all

FIRST = ("Ann", "Bo", "Carl", "Dora", "Ebba", "Finn", "Greta", "Hans")
MONTHS = [name.casefold() for name in calendar.month_name]
LAST = ("Falk", "Lind", "Moe", "Rask", "Vik", "Wiik", "Dahl")
WORDS = st.sampled_from(
    [*FIRST, *LAST, "Kalvik", "of", "the", "and", "van", "river", "was", "The", "In", "1911", "II"]
)
FRAGMENTS = st.sampled_from(
    " |  |\n|\r\n|, |. |.|-|'|’s |\"|“|”|(|)| – |_|Ann|Falk|U.S.|J. R. R.|1,204|8 March 1911|née|is"  # noqa: SIM905
    "|known as|of|é|E\u0301|Å|A\u030a|\u0301|İ|ß|ǅ|²|½|٣|ー|京|が|カ|שלום|مصر|हिन्दी|서울|\u202e"
    "|\u200b|👩\u200d👧|\ud83d|\x00|Ω|и".split("|")
)
# What is no character yet in Python's own tables is folded by none of its functions.
ASSIGNED = st.characters(exclude_categories=("Cn", "Cs"))
TEXTS = st.one_of(
    st.text(ASSIGNED, max_size=120),
    st.lists(FRAGMENTS, max_size=40).map("".join),
    st.lists(WORDS, max_size=40).map(" ".join),
)


@settings(deadline=None)
@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_traces_of_anything_are_well_formed(title: str, texts: list[str]) -> None:
    found = extract_entities(title, texts)
    assert len(found) == len(texts)
    for one in found:
        keys = [key for key, _ in one.abouts]
        for some in (keys, one.mentions, one.candidates):
            assert len(set(some)) == len(some)
            assert all(-(2**63) <= key < 2**63 and key != 0 for key in some)
        assert all(0 < strength <= 1 for _, strength in one.abouts)
        assert len(one.candidates) <= 512
        assert one.candidates[: len(one.mentions)] == one.mentions[:512]


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_a_passage_depends_on_itself_and_what_goes_before(title: str, one: str, other: str) -> None:
    alone = extract_entities(title, [one])
    extract_entities(other, [other, one])
    assert extract_entities(title, [one]) == alone
    assert extract_entities(title, [one, other])[:1] == alone


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_composed_and_decomposed_letters_are_the_same(title: str, text: str) -> None:
    composed, decomposed = (
        extract_entities(unicodedata.normalize(form, title), [unicodedata.normalize(form, text)])
        for form in ("NFC", "NFD")
    )
    assert composed == decomposed


def dated(name: str) -> str:
    """A name as year-month-day if it is a full date, whatever stands between its parts."""
    parts = re.split(r"[\W_]+", name.casefold())
    months = [part for part in parts[:2] if part in MONTHS[1:]]
    if len(parts) != 3 or len(months) != 1:
        return name
    day, year = (part for part in parts if part != months[0])
    if not (day.isdecimal() and year.isdecimal() and 1 <= int(day) <= 31 and int(year) >= 1000):
        return name
    return f"{int(year)}-{MONTHS.index(months[0]):02}-{int(day):02}"


@settings(deadline=None)
@given(TEXTS)
@example("1:MARCH:1000")
@example("March 8, 1911")
def test_what_is_shown_is_the_name_with_that_key(text: str) -> None:
    for key, name in mentioned_entities(text).items():
        assert entity_key(dated(name)) == key


@settings(deadline=None)
@given(TEXTS)
@example("B/Ð:a:Ð")
def test_without_surnames_what_is_shown_is_what_is_mentioned(text: str) -> None:
    found = mentioned_entities(text)
    keys = [split_words(name).keys for name in found.values()]
    if not {one[-1] for one in keys if len(one) > 1} & {one[0] for one in keys if len(one) == 1}:
        assert set(found) <= set(only(text).mentions)


@settings(deadline=None)
@given(st.lists(st.tuples(WORDS, st.sampled_from([" ", " ", " ", ", ", ". "])), max_size=40))
def test_candidates_hold_all_that_a_naive_search_for_titles_finds(
    pieces: list[tuple[str, str]],
) -> None:
    text = "".join(word + gap for word, gap in pieces)
    candidates = set(only(text).candidates)
    for start in range(len(pieces)):
        for end in range(start + 1, min(len(pieces), start + 8) + 1):
            inner = [gap for _, gap in pieces[start : end - 1]]
            first, last = pieces[start][0], pieces[end - 1][0]
            capitals = first[0].isupper() and last[0].isupper()
            alone = end - start == 1 and first in {"The", "In"}
            if capitals and not alone and ". " not in inner and inner.count(", ") <= 1:
                title = "".join(word + gap for word, gap in pieces[start:end]).rstrip(" ,.")
                assert entity_key(title) in candidates, title


# Too much of it


@pytest.mark.parametrize(
    "text",
    [
        "ANN FALK " * 110_000,
        "Ann Falk, " * 100_000,
        "ann falk " * 110_000,
        "A" * 1_000_000,
        "A." * 500_000,
        "1," * 500_000,
        '"' * 1_000_000,
        "京" * 200_000,
        "e\u0301" * 300_000,
        "A-b" * 200_000,
    ],
    ids=lambda text: text[:10],
)
def test_a_megabyte_of_anything_takes_linear_time(text: str) -> None:
    """Quadratic work would take hours here."""
    assert len(only(text, text).candidates) <= 512


def test_fifty_thousand_names_are_all_mentioned_and_the_first_kept_as_candidates() -> None:
    people = [f"{FIRST[at % 8]}{chr(97 + at // 26 % 26)} Q{at}" for at in range(50_000)]
    found = only("We met " + ". We met ".join(people) + ".")
    keys = [entity_key(one) for one in people]
    assert list(found.mentions) == keys
    assert list(found.candidates) == keys[:512]
    assert found.abouts == ()
