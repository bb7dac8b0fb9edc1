"""Synthetic corpora with names: those of `benchmarks.store.synthetic`, some words made into names.

As in English Wikipedia, a few names occur in very many passages and most in one or two: names are
drawn by Zipf's law from twice as many as there are passages. A document's title is one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from hoptrail.evals.benchmarks.store.synthetic import PER_DOCUMENT, SyntheticCorpus, SyntheticQuery
from hoptrail.rag.types import IndexedDocument, Passage, passage_id

NAMES = 8
"""Names in each passage."""
_PER_PASSAGE = 2
_SENTENCE = 14
_SYLLABLES = (
    *("ba", "ce", "di", "fo", "gu", "ha", "ke", "li", "mo", "nu", "pa", "re"),
    *("si", "to", "vu", "wa", "ye", "zi", "cho", "sha", "thre", "bri", "sto", "kla"),
)
_ASKED = 2


class NamedCorpus:
    """Corpus of `size` passages with names; equal seeds give equal corpora."""

    def __init__(self, size: int, *, dimension: int = 384, seed: int = 0) -> None:
        self.size = size
        self._plain = SyntheticCorpus(size, dimension=dimension, seed=seed)
        self._random = np.random.default_rng(seed + 1)
        self._count = _PER_PASSAGE * size
        self._shares = np.cumsum(1 / np.arange(1, self._count + 1))
        self._shares /= self._shares[-1]

    def documents(self, first: int = 0) -> Iterator[IndexedDocument]:
        """The documents from number `first` on."""
        for number, document in enumerate(self._plain.documents(first), first):
            yield self._named(document, number)

    def document(self, number: int, version: int = 0) -> IndexedDocument:
        """One document of 20 passages, drawn anew on every call."""
        return self._named(self._plain.document(number, PER_DOCUMENT, version), number)

    def query(self, source: IndexedDocument) -> SyntheticQuery:
        """A query for one passage of a document: ten of its words, and two names."""
        plain = self._plain.query(source)
        drawn = self._random.integers(self._count, size=_ASKED)
        names = " and ".join(name(int(one)) for one in drawn)
        return replace(plain, text=f"{plain.text} {names} {source.document.title}?")

    def _named(self, document: IndexedDocument, number: int) -> IndexedDocument:
        """The document with names among its words, split into sentences, with a title."""
        # Titles are spread over common and rare names.
        title = name(number * PER_DOCUMENT * _PER_PASSAGE % self._count)
        texts = [self._text(one.text.split()) for one in document.passages]
        passages, start = [], 0
        for text in texts:
            end = start + len(text)
            identifier = passage_id(document.document.id, start, end)
            passages.append(
                Passage(
                    id=identifier,
                    document_id=document.document.id,
                    start=start,
                    end=end,
                    title=title,
                    text=text,
                )
            )
            start = end + 1
        body = replace(document.document, title=title, text=" ".join(texts))
        return replace(document, document=body, passages=passages)

    def _text(self, words: list[str]) -> str:
        drawn = np.searchsorted(self._shares, self._random.random(NAMES)).tolist()
        places = self._random.choice(len(words), size=NAMES, replace=False).tolist()
        for place, one in zip(places, drawn, strict=True):
            words[place] = name(one)
        sentences = [words[at : at + _SENTENCE] for at in range(0, len(words), _SENTENCE)]
        return ". ".join(" ".join(["so", *some]) for some in sentences) + "."


def name(number: int) -> str:
    """Name number `number` by frequency: two capitalised words, or one for every fifth."""
    base = len(_SYLLABLES)
    digits = [number // base**place % base for place in range(5)]
    word = "".join(_SYLLABLES[digit] for digit in digits[:3]).capitalize()
    if number % 5 == 0:
        return word + "".join(_SYLLABLES[digit] for digit in digits[3:])
    other = "".join(_SYLLABLES[digit] for digit in reversed(digits[1:])).capitalize()
    return f"{word} {other}"
