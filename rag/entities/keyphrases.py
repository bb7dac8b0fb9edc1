"""Key phrases (RAKE-like), which stand in for names in a text without capitals.

Arabic, Chinese, Hindi, notes typed in lower case, headings typed in capitals: there a capital
letter says nothing, and the runs of content words between stop words and punctuation take the
place of names (as in RAKE: Rose et al., "Automatic keyword extraction from individual documents",
2010). The stop words are those of nltk that ship with llama-index-core, of the one of 32 languages
that the text has most stop words of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain

import regex

from hoptrail.rag.entities.words import (
    CAPITAL,
    CLAUSE,
    COMMON_WORDS,
    LONGEST,
    NONE,
    OPENERS,
    SENTENCE,
    Span,
    Words,
    normalize,
)
from hoptrail.rag.text.tokens import static_folder

_FEW = 0.03
"""Share of capitalised words, heads of sentences aside, below which capitals say nothing: 1 % of
Wikipedia's English passages."""

_WORDS = 5
"""Words of a candidate; for Chinese characters it is `LONGEST`."""

_TELLING = 3
"""Number of stop words of a language that identify a text in Latin letters as in it."""

_LOOKED_AT = 2000
"""Words of a text from which its language is detected."""

_UNSPACED = regex.compile(r"[\p{Han}\p{Katakana}ー]+")
_SYLLABLES = regex.compile(r"\p{Hiragana}{1,3}")


def has_no_case(text: str, found: Words) -> bool:
    """Whether the capitals of a text say nothing: it has none, or nothing else."""
    few = _FEW * sum(1 for ends in found.breaks if ends != SENTENCE)
    capitals = 0
    for kind, ends in zip(found.kinds, found.breaks, strict=True):
        capitals += kind & CAPITAL and ends != SENTENCE
        if capitals > few:
            return text.isupper()
    return True


def content(found: Words) -> list[bool]:
    """Marks the content words: no stop words, numbers or single letters."""
    folded = [normalize(found.word(at)) for at in range(len(found.keys))]
    stops = stop_words_of(folded)
    return [_is_word(word) and word not in stops for word in folded]


def keyphrases(found: Words, content: Sequence[bool]) -> Iterator[Span]:
    """The key phrases: runs of up to eight content words."""
    start = 0
    for at, one in enumerate(chain(content, (False,))):
        if one and found.breaks[at] == NONE:
            continue
        if 0 < at - start <= LONGEST:
            yield start, at - 1
        start = at if one else at + 1


def content_runs(found: Words, content: Sequence[bool]) -> Iterator[Span]:
    """All spans of a few words that begin and end with a content word.

    One comma may stand inside.
    """
    for start, begins in enumerate(content):
        if not begins:
            continue
        most = LONGEST if _UNSPACED.fullmatch(found.word(start)) else _WORDS
        clauses = 0
        for at in range(start, min(len(content), start + most)):
            clauses += found.breaks[at] if at > start else 0
            if clauses > CLAUSE:
                break
            if content[at]:
                yield start, at


def _is_word(folded: str) -> bool:
    if _UNSPACED.match(folded):
        return True
    letters = len(folded) > 1 and any(map(str.isalpha, folded))
    return letters and not _SYLLABLES.fullmatch(folded)


def stop_words_of(folded: Sequence[str]) -> frozenset[str]:
    """The stop words of the language that has most of these words; English if few say anything."""
    lists = _stop_words()
    some = folded[:_LOOKED_AT]
    counts = {language: sum(map(stops.__contains__, some)) for language, stops in lists.items()}
    best = max(counts, key=lambda language: (counts[language], language == "english"))
    telling = _TELLING if any(map(str.isascii, some)) else 1
    if best == "english" or counts[best] < telling:
        return _english()
    return lists[best]


@cache
def _english() -> frozenset[str]:
    return _stop_words()["english"] | COMMON_WORDS | OPENERS


@cache
def _stop_words() -> dict[str, frozenset[str]]:
    """Folded stop words by language; Hinglish has all English ones and would pass for it."""
    folder = static_folder("nltk_cache") / "corpora" / "stopwords"
    return {
        path.name: frozenset(map(normalize, path.read_text(encoding="utf-8").split()))
        for path in sorted(folder.iterdir())
        if path.name.islower() and path.name != "hinglish"
    }
