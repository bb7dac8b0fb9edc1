"""Further index terms of texts: those of `word_forms` through the analyzer's chains, all at once.

A chain's call costs more than its work on a word, so the codes of a whole text that were not met
before go through each chain together.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from tantivy import TextAnalyzer

from hoptrail.rag.text.word_forms import (
    UNSPACED,
    Piece,
    is_plain,
    joined_form,
    parts,
    pieces,
)

_CACHED_CHUNKS, _CACHED_LETTERS = 1 << 16, 1 << 12
_LONGEST_CACHED = 48
_MARKS = frozenset({"Mn", "Mc"})
_PUNCTUATION = ".,;:!?()[]\"'“”‘’"
_OPENING = frozenset(".!?:;…")
"""A word after one of these, or at the head of a line, is capitalised for its place."""

_FENCE = "㊀"
"""A word that no chain changes and that no text in NFKC has."""


class _Forms(NamedTuple):
    """Further terms of a chunk, which is what stands between two spaces."""

    always: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    """Those that count inside a sentence only: at its head, "A" is an article."""


_NONE = _Forms()


class FurtherTerms:
    """The further terms of texts in one language. Thread-safe."""

    def __init__(self, words: TextAnalyzer, letters: TextAnalyzer, bare: TextAnalyzer) -> None:
        """Takes the chains of the language.

        Args:
            words: the chain of ordinary words.
            letters: the same, but that it keeps single letters which are no stop words.
            bare: only folds and stems what stands between spaces.
        """
        self._words, self._letters, self._bare = words, letters, bare
        self._letter = lru_cache(maxsize=_CACHED_LETTERS)(self._letter_forms)
        self._known: dict[str, _Forms] = {}
        self._plain: set[str] = set()
        """Chunks without further terms, which most are."""

    def add(self, chunks: list[str], found: dict[str, None]) -> None:
        """Adds the further terms of a text's chunks to `found`, in their order."""
        plain = self._plain
        rare = [(at, chunk) for at, chunk in enumerate(chunks) if chunk not in plain]
        if not rare:
            return
        forms = self._of({chunk for _, chunk in rare})
        for at, chunk in rare:
            always, inside = forms[chunk]
            found.update(dict.fromkeys(always))
            if inside and at and chunks[at - 1][-1] not in _OPENING:
                found.update(dict.fromkeys(inside))

    def _of(self, chunks: set[str]) -> dict[str, _Forms]:
        known = self._known
        forms = {chunk: known[chunk] for chunk in chunks if chunk in known}
        fresh = self._read([chunk for chunk in chunks if chunk not in forms])
        if len(known) + len(fresh) > _CACHED_CHUNKS:
            self._known = known = {}
        for chunk, found in fresh.items():
            if len(chunk) > _LONGEST_CACHED:
                continue
            if found is not _NONE:
                known[chunk] = found
            elif len(self._plain) < _CACHED_CHUNKS:
                self._plain.add(chunk)
        return forms | fresh

    def _read(self, chunks: Sequence[str]) -> dict[str, _Forms]:
        inside = {chunk: list(_pieces(chunk)) for chunk in chunks}
        codes = {piece.text for found in inside.values() for piece in found if not piece.is_letter}
        terms = self._code_terms(list(codes)) if codes else {}
        return {chunk: self._joined(found, terms) for chunk, found in inside.items()}

    def _joined(self, found: list[Piece], terms: dict[str, list[str]]) -> _Forms:
        always: list[str] = []
        inside: list[str] = []
        for piece in found:
            if piece.is_letter:
                forms = self._letter(piece)
                always += forms.always
                inside += forms.inside
            else:
                always += terms[piece.text]
        return _Forms(tuple(always), tuple(inside)) if always or inside else _NONE

    def _code_terms(self, codes: Sequence[str]) -> dict[str, list[str]]:
        """By code: its terms beside those that it has as an ordinary word."""
        ordinary = _each(self._words, codes)
        whole: list[str] = []
        inner: list[str] = []
        for code, own in zip(codes, ordinary, strict=True):
            if not own and code.isalpha() and code.isupper():
                whole.append(code)  # IT is no pronoun
                inner.append("")
                continue
            found = parts(code)
            whole.append(" ".join((joined_form(code), *(one for one in found if "." in one))))
            inner.append(" ".join(found))
        terms = zip(_each(self._bare, whole), _each(self._words, inner), strict=True)
        return {
            code: [one for one in dict.fromkeys(joined + split) if one not in own]
            for code, own, (joined, split) in zip(codes, ordinary, terms, strict=True)
        }

    def _letter_forms(self, piece: Piece) -> _Forms:
        """A single letter. No article stands before punctuation."""
        term = tuple(self._bare.analyze(piece.text))
        if piece.followed or self._letters.analyze(piece.text):
            return _Forms(always=term)
        return _Forms(inside=term) if piece.text.isupper() else _NONE


def _pieces(chunk: str) -> Iterable[Piece]:
    """The pieces of a chunk that may have further terms."""
    if not chunk.isascii():
        chunk = UNSPACED.sub(" ", chunk)
        # To Python's expressions a vowel sign of an Indian script ends a word.
        if any(unicodedata.category(character) in _MARKS for character in chunk):
            return ()
    if is_plain(chunk.strip(_PUNCTUATION)):
        return ()
    return pieces(chunk)


def _each(chain: TextAnalyzer, texts: Sequence[str]) -> list[list[str]]:
    """The words of each text, by one call of the chain."""
    groups: list[list[str]] = [[]]
    for word in chain.analyze(f" {_FENCE} ".join(texts)):
        if word == _FENCE:
            groups.append([])
        else:
            groups[-1].append(word)
    return groups
