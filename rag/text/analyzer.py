"""The text analyzer of every lexical index: index terms, stop words and stems.

Words go through Tantivy's own chain: alphanumeric runs, lower case, stop words of the language,
accents folded, single letters dropped, Snowball stems. What is not a plain word gets further terms
(`word_forms`), and single letters get one where they name something: class A, C#, J. These count by
presence alone, so that a text is neither longer nor its words rarer because of them. Both indexes
and every query use the terms made here, so no two can disagree about a word. A naive
`lower().split()` costs 10 to 14 points of recall@5.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tantivy import Filter, TextAnalyzer, TextAnalyzerBuilder, Tokenizer

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.text.characters import searchable
from hoptrail.rag.text.further_terms import FurtherTerms
from hoptrail.rag.text.word_forms import IDEOGRAPH, UNSPACED, character_pairs

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The index terms of a text."""

    words: list[str]
    """In order, repetitions kept; ranked by BM25."""
    forms: list[str]
    """Further terms, each once; a passage that has one scores its inverse document frequency."""

    def counts(self) -> dict[str, int]:
        """All terms, with how often each is a word; 1 for a further term."""
        return dict.fromkeys(self.forms, 1) | Counter(self.words)


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
        self._folded = _chain(Tokenizer.simple(), folds)
        self._further = FurtherTerms(
            self._words,
            letters=_chain(Tokenizer.simple(), stops),
            bare=_chain(Tokenizer.whitespace(), folds, stems),
        )

    @property
    def words(self) -> TextAnalyzer:
        """The chain from a prepared text to its words, for an index that runs it itself."""
        return self._words

    def prepare(self, text: str) -> tuple[str, list[str]]:
        """The text as `words` reads it, and its further terms, each once, without spaces."""
        text = searchable(text)
        forms: dict[str, None] = {}
        # A passage begins with its title: the line after it is the head of a sentence.
        for line in text.split("\n", 1):
            self._further.add(line.split(), forms)
        if not text.isascii() and UNSPACED.search(text):
            forms.update(dict.fromkeys(IDEOGRAPH.findall(text)))
            text = UNSPACED.sub(_spaced_pairs, text)
        if self._grams:
            text = " ".join((text, *_letter_grams(self._folded.analyze(text))))
        return text, list(forms)

    def terms(self, text: str) -> Terms:
        """The words and the further terms of a text."""
        words, forms = self.prepare(text)
        return Terms(words=self._words.analyze(words), forms=forms)


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
    """The index terms of `text`: words in order, repetitions kept, then its further terms."""
    found = analyzer(language).terms(text)
    return found.words + found.forms


def rarest(counts: Mapping[str, int], frequency: Callable[[str], int]) -> dict[str, int]:
    """The terms of a query that count: of more than `MOST_TERMS`, the rarest of the index.

    Of equally rare ones those with a digit come first: the code at the end of a pasted log.

    Args:
        counts: how often each term stands in the query.
        frequency: the number of passages that have a term.
    """
    if len(counts) <= MOST_TERMS:
        return dict(counts)
    found = {term: often for term in counts if (often := frequency(term))}
    order = sorted(found, key=lambda term: (found[term], not any(map(str.isdecimal, term))))
    return {term: counts[term] for term in order[:MOST_TERMS]}


def inverse_frequency(passages: int, found_in: int) -> float:
    """ln(1 + (N - n + 0.5) / (n + 0.5)), Lucene's, never negative."""
    return math.log(1 + (passages - found_in + 0.5) / (found_in + 0.5))


def _spaced_pairs(run: re.Match[str]) -> str:
    return f" {' '.join(character_pairs(run[0]))} "


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
