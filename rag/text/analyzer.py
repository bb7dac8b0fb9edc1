"""The text analyzer of every lexical index: index terms, stop words and stems.

Words go through Tantivy's own chain: alphanumeric runs, lower case, stop words of the language,
accents folded, Snowball stems. What is not a plain word gets further terms beside it (`word_forms`),
and single letters are terms where they name something: class A, C#, J. Both indexes and every query
use the terms made here, so no two can disagree about a word. A naive `lower().split()` costs 10 to
14 points of recall@5.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.text.characters import searchable
from hoptrail.rag.text.word_forms import (
    UNSPACED,
    Piece,
    character_pairs,
    joined_form,
    parts,
    pieces,
)

VERSION = 2
"""Version of the terms: an index with terms of another one is built anew."""

LANGUAGES = (
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
)
"""Languages for which both stop words and a Snowball stemmer exist."""

NGRAMS = "+ngrams"
"""What follows a language whose words are indexed by their sequences of five letters as well."""

LONGEST_WORD = 255
"""Bytes; longer runs (encoded blobs) are dropped."""

MOST_TERMS = 256
"""Distinct terms of a query that count, the rarest of the index; a pasted document has more."""

_GRAM = 5
_MARKS = frozenset({"Mn", "Mc"})
_CACHED_CHUNKS = 1 << 16
_LONGEST_CACHED = 48
_OPENING = frozenset(".!?:;…")
"""A word after one of these, or at the head of a line, is capitalised for its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forms:
    """Further terms of what stands between two spaces."""

    always: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    """Those that count inside a sentence only: at its head, "A" is an article."""


_NONE = _Forms()


class Analyzer:
    """The analyzer of one language. Thread-safe."""

    def __init__(self, language: str) -> None:
        """Use `analyzer`."""
        name, _, _ = language.partition("+")
        self._grams = language.endswith(NGRAMS)
        letters = Filter.custom_stopword(list(string.ascii_lowercase))
        # Before folding: the stop words and stems of accented languages carry their accents.
        stops, folds, stems = Filter.stopword(name), Filter.ascii_fold(), Filter.stemmer(name)
        self._words = _chain(Tokenizer.simple(), stops, folds, letters, stems)
        self._letters = _chain(Tokenizer.simple(), stops)
        self._bare = _chain(Tokenizer.whitespace(), folds, stems)
        self._folded = _chain(Tokenizer.simple(), folds)
        self._cached: Callable[[str], _Forms] = lru_cache(maxsize=_CACHED_CHUNKS)(self._forms)
        self._plain: set[str] = set()
        """Chunks without further terms, which most are."""

    def terms(self, text: str) -> list[str]:
        """The index terms of a text, repetitions kept: words in order, then all others."""
        text = searchable(text)
        pairs: list[str] = []
        if not text.isascii() and UNSPACED.search(text):
            pairs = [pair for run in UNSPACED.findall(text) for pair in character_pairs(run)]
            text = UNSPACED.sub(" ", text)
        found: list[str] = self._words.analyze(text)
        # A passage begins with its title: the line after it is the head of a sentence.
        for line in text.split("\n", 1):
            self._add_forms(line.split(), found)
        if self._grams:
            found += _letter_grams(self._folded.analyze(text))
        return found + pairs

    def _add_forms(self, chunks: list[str], found: list[str]) -> None:
        plain = self._plain
        for at, chunk in [(at, chunk) for at, chunk in enumerate(chunks) if chunk not in plain]:
            forms = self._cached(chunk) if len(chunk) <= _LONGEST_CACHED else self._forms(chunk)
            if forms is _NONE and len(chunk) <= _LONGEST_CACHED and len(plain) < _CACHED_CHUNKS:
                plain.add(chunk)
            found += forms.always
            if forms.inside and at and chunks[at - 1][-1] not in _OPENING:
                found += forms.inside

    def _forms(self, chunk: str) -> _Forms:
        if any(unicodedata.category(character) in _MARKS for character in chunk):
            return _NONE  # to Python's expressions a vowel sign of an Indian script ends a word
        found = [self._forms_of(piece) for piece in pieces(chunk)]
        always = tuple(term for one in found for term in one.always)
        inside = tuple(term for one in found for term in one.inside)
        return _Forms(always=always, inside=inside) if always or inside else _NONE

    def _forms_of(self, piece: Piece) -> _Forms:
        text = piece.text
        if len(text) == 1 and text.isalpha():
            return self._letter(piece)
        own = self._words.analyze(text)
        joined = joined_form(text)
        if not own and not joined and text.isalpha():
            # A stop word that is written as a name: Will Smith, IT.
            name = tuple(self._bare.analyze(text)) if text[0].isupper() else ()
            return _Forms(always=name) if text.isupper() else _Forms(inside=name)
        terms = self._bare.analyze(joined) + self._words.analyze(" ".join(parts(text)))
        return _Forms(always=tuple(one for one in dict.fromkeys(terms) if one not in own))

    def _letter(self, piece: Piece) -> _Forms:
        """A single letter. No article stands before punctuation."""
        term = tuple(self._bare.analyze(piece.text))
        if piece.followed or self._letters.analyze(piece.text):
            return _Forms(always=term)
        return _Forms(inside=term) if piece.text.isupper() else _NONE


@lru_cache(maxsize=2 * len(LANGUAGES))
def analyzer(language: str) -> Analyzer:
    """The analyzer of a language; `german+ngrams` also makes the letter sequences of words.

    Raises:
        SettingsError: a language without stop words or stemmer.
    """
    if language.removesuffix(NGRAMS) not in LANGUAGES:
        raise SettingsError(
            f"No analyser for the language {language!r}: choose one of {', '.join(LANGUAGES)}, "
            f"where compounds matter with {NGRAMS} behind it."
        )
    return Analyzer(language)


def index_terms(language: str, text: str) -> list[str]:
    """The index terms of `text`, repetitions kept: words in order, then all others.

    No term has a space in it.
    """
    return analyzer(language).terms(text)


def rarest(counts: Mapping[str, int], frequency: Callable[[str], int]) -> dict[str, int]:
    """The terms of a query that count: of more than `MOST_TERMS`, the rarest of the index.

    Args:
        counts: how often each term stands in the query, in order.
        frequency: the number of passages that have a term.
    """
    if len(counts) <= MOST_TERMS:
        return dict(counts)
    found = {term: often for term in counts if (often := frequency(term))}
    kept = set(sorted(found, key=found.__getitem__)[:MOST_TERMS])
    return {term: count for term, count in counts.items() if term in kept}


def _chain(tokenizer: Tokenizer, *filters: Filter) -> TextAnalyzer:
    builder = TextAnalyzerBuilder(tokenizer).filter(Filter.remove_long(LONGEST_WORD))
    builder = builder.filter(Filter.lowercase())
    for one in filters:
        builder = builder.filter(one)
    return builder.build()


def _letter_grams(words: Iterable[str]) -> list[str]:
    return [
        word[at : at + _GRAM]
        for word in words
        if word.isalpha()
        for at in range(len(word) - _GRAM + 1)
    ]
