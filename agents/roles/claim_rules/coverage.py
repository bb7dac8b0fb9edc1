"""Content words of a claim that its quotes lack, with light stems; pieces where no spaces stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import regex

from hoptrail.agents.roles.claim_rules.quantities import (
    MONTHS,
    NUMBER_WORDS,
    UNIT_WORDS,
    quantities,
)
from hoptrail.agents.roles.common import EMPTY_WORDS
from hoptrail.rag.entities.surface import casefolded, proper_names
from hoptrail.rag.entities.words import COMMON_WORDS
from hoptrail.rag.text.analyzer import index_terms

MOST_FOREIGN = 2 / 3
"""Share of a claim's content words from which, where names have capitals, it counts as invented.
Numbers are counted as words that the quotes have; names are checked one by one."""
MOST_FOREIGN_UNCASED = 0.25
"""The same for scripts without capitals, whose names are among the words."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_PIECE = regex.compile(rf"[{_UNSPACED}ー]+|(?:(?![{_UNSPACED}])[\p{{L}}\p{{M}}\p{{N}}])+")
_UNSPACED_PIECE = regex.compile(rf"[{_UNSPACED}]")
_IDEOGRAPHIC = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_CASED = regex.compile(r"[\p{Latin}\p{Greek}\p{Cyrillic}\p{Armenian}]")
_LATIN = regex.compile(r"\p{Latin}")
_PARTICLES = regex.compile(
    r"[\p{Hiragana}的了是在一个個这這那由和与與于於也都其为為有被把从從到这就而及之他她它們们名位座]"
)
_FUNCTION_WORDS = frozenset(
    casefolded(
        """في من على إلى عن هو هي التي الذي كان كانت هذا هذه مع و عام قد أن ثم
    की का के को में से ने पर है हैं था थी थे और यह वह एक इस उस जो भी
    и в на с по из от к у о он она оно они это был была было были его ее их что как году год
    ο η το του της των τον την και σε από με για στο στη στην που είναι ήταν έναν ένα μια
    은 는 이 가 을 를 의 에 에서 그 및"""
    ).split()
)
_GENERIC = frozenset(
    """turn turned turns thing things person place way time out used use using make makes made
    one ones someone somebody something people man men woman women year years well very still
    called name named known said says say set become became becomes get got include included
    including fact able just even back there here then again first such own while during
    since age aged old last lasted near nearly almost around roughly approximately until
    through without not never nobody none nothing neither nor no cannot did done""".split()  # noqa: SIM905
)
_NO_HEAD = NUMBER_WORDS.union(
    "of the nobody none nothing neither everybody everyone".split()  # noqa: SIM905
)
_STOP = EMPTY_WORDS | COMMON_WORDS | _GENERIC | NUMBER_WORDS | UNIT_WORDS | frozenset(MONTHS)

# Words of a line say the same of two things, as far as a verifier need know: inflections that no
# stemmer sees, and the paraphrases that answers are full of.
_SAME = """
go went gone goes going came come comes arrive arrived reach reached
begin began begun start started commence
end ended finish finished close closed
build built builder builders construct constructed construction erect erected shipwright
write wrote written writer author authored words text libretto
compose composed composer music
found founded founder founders founding establish established foundation creation
open opened opening inaugurated
lead led leader head headed direct directed director under run ran command commanded captain master
die died death dead dies buried
birth born native
marry married marriage wife husband widow wed bachelor unmarried
father mother parent son daughter child children brought raised raise grew grow boy girl
teach taught teacher learn learned learnt apprenticed trained pupil studied student
give gave given award awarded receive received win won get got grant granted prize
take took taken
buy bought purchase purchased sell sold
see saw seen
find found discovered discover
know knew known
hold held keep kept
lie lies lay located stand stands stood situated
deep depth bottom
long length end
high height tall highest
wide width across
large largest big biggest size
live lived lives inhabitants inhabitant population residents home
destroy destroyed burnt burn fire
sink sank sunk founder foundered wreck wrecked lost loss
draw drew drawn drawing
speak spoke spoken
tell told
pay paid cost
leave left legacy bequeath bequeathed will fortune
succeed succeeded succession successor follow followed after
ship vessel steamer schooner brig barque boat
job post office position
connection related kinship relation connected
judge judgment decide decided settle settled magistrate
"""
_GROUP: dict[str, str] = {}
for _line in _SAME.strip().splitlines():
    for _word in _line.split():
        _GROUP.setdefault(_word, _line.split()[0])


@lru_cache(maxsize=16384)
def term(word: str) -> str:
    """A folded word as it is compared: its group's first word, its English stem, or itself."""
    if not _LATIN.match(word):
        return word
    stem = index_terms("english", word)
    return _GROUP.get(word) or (_GROUP.get(stem[0], stem[0]) if stem else word)


@lru_cache(maxsize=4096)
def claimed_names(text: str) -> tuple[str, ...]:
    """The proper names of a claim: an owner apart from what is owned, no number at their head."""
    found: dict[str, None] = {}
    for name in proper_names(text):
        for part in regex.split(r"['’]s\s+", name):
            words = part.split()
            while words and (casefolded(words[0]) in _NO_HEAD or words[0][0].isdigit()):
                words.pop(0)
            if len(words) == 1 and casefolded(words[0]) in _GROUP:
                continue  # a common word, capital only because it opens a sentence or a title
            if words and any(word[0].isupper() for word in words):
                found.setdefault(" ".join(words))
    return tuple(found)


def words_of(text: str) -> list[str]:
    """The folded words of a text; a run of a script without spaces is one."""
    found: list[str] = _PIECE.findall(casefolded(text))
    return found


@lru_cache(maxsize=4096)
def content_terms(text: str) -> frozenset[str]:
    """The terms of a text that carry content, numbers, units and months aside."""
    return frozenset(
        term(word)
        for word in words_of(text)
        if len(word) > 1 and not word[0].isdigit() and word not in _STOP
    )


def said(word: str, have: frozenset[str]) -> bool:
    """Whether a term is among others; long ones may differ in their endings."""
    if word in have:
        return True
    least = 5 if _LATIN.match(word) else 3
    return any(
        _shared(word, other) >= max(least, 0.6 * max(len(word), len(other))) for other in have
    )


def foreign_words(text: str, names: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """The content words of a claim that no source has, where they are too many of them; else none.

    Args:
        text: the claim.
        names: its proper names, which are checked by themselves.
        sources: quotes and titles.
    """
    every = "\n".join(sources)
    if not _CASED.search(text):
        return _foreign_uncased(text, every)
    named = {term(word) for name in names for word in words_of(name)}
    mine = content_terms(text) - named
    have = content_terms(every)
    missing = sorted(word for word in mine if not said(word, have))
    stated = len(mine) + len(quantities(text))
    return tuple(missing) if missing and len(missing) >= MOST_FOREIGN * stated else ()


def _foreign_uncased(text: str, source: str) -> tuple[str, ...]:
    have = frozenset(words_of(source)) | _FUNCTION_WORDS
    whole = casefolded(source)
    parts = missing = 0
    foreign = []
    for word in words_of(text):
        if word in _FUNCTION_WORDS or word[0].isdigit():
            continue
        if not _UNSPACED_PIECE.match(word):
            parts += 1
            if not said(_bare(word), frozenset(map(_bare, have))):
                missing += 1
                foreign.append(word)
            continue
        for run, known in _tiles(word, whole):
            size = len(_PARTICLES.sub("", run))
            parts += size
            if not known and size > 1:
                missing += size
                foreign.append(run)
    return tuple(foreign) if parts and missing >= MOST_FOREIGN_UNCASED * parts else ()


def _bare(word: str) -> str:
    """An Arabic word without article and one-letter prefix; any other as it is."""
    return str(regex.sub(r"^(?:[وبلكف]?ال|[وف](?=\p{Arabic}{3}))", "", word))


def _tiles(word: str, source: str) -> Iterator[tuple[str, bool]]:
    """A run without spaces cut into the longest pieces the source has, and what lies between."""
    least = 2 if _IDEOGRAPHIC.match(word) else 3
    place, loose = 0, ""
    while place < len(word):
        end = len(word)
        while end - place >= least and word[place:end] not in source:
            end -= 1
        if end - place >= least:
            if loose:
                yield loose, False
            yield word[place:end], True
            place, loose = end, ""
        else:
            loose += word[place]
            place += 1
    if loose:
        yield loose, False


def _shared(one: str, other: str) -> int:
    """How many letters two words have in common at their beginning."""
    length = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        length += 1
    return length
