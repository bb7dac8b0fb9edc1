"""Entity extraction without a model: the names in passages, from which the passage graph is made.

Pure functions of the text: no index, no I/O. An entity is the signed 64-bit key of its normalised
name (see `spans`), so the graph needs no table of names; `named` finds them again in a text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from hoptrail.rag.entities import aliases
from hoptrail.rag.entities import keyphrases as phrases
from hoptrail.rag.entities.aliases import Alias
from hoptrail.rag.entities.words import (
    CAPITAL,
    COMMON,
    DIGIT,
    LINK,
    MONTH,
    SHORT,
    Span,
    Words,
    candidate_keys,
    month,
    name_spans,
    nested_name_spans,
    span_key,
    split_words,
    word_key,
)

VERSION = 4
"""Version of the extraction: a store rebuilds its graph when it has another one."""

_MOST_CANDIDATES = 512
_SUBJECT, _BESIDE_TITLE = 0.9, 0.6
"""Strength of the subject of a first sentence: without a title that names it, and with."""

_INHERITED = 0.6
"""Factor of that strength for the later passages of a document without a title."""

_LIST = 50
"""Number of names above which a passage is a list: less than 1 % of Wikipedia's passages."""

_LONGEST_QUOTED = 8
_LONGEST_PERSON = 4
_QUOTES = re.compile('["“«„]')
_QUOTED = re.compile(r"[\"“«„]\s?([^\"“”«»„\n]{2,80}?)[,.]?\s?[\"”»“]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PassageEntities:
    """The entities of a passage: what it is about, mentions, may point to; signed 64-bit keys."""

    abouts: tuple[tuple[int, float], ...]
    """Entities the passage is about, each once, with a strength in (0, 1]."""

    mentions: tuple[int, ...]
    """The names it mentions, each once."""

    candidates: tuple[int, ...]
    """Whatever in it may be another passage's title, each once; maximal names come first."""


def entity_key(name: str) -> int:
    """The key of a name, whatever its case, accents and punctuation; 0 if it has no words."""
    return span_key(split_words(name).keys)


def extract_entities(title: str, texts: Sequence[str]) -> list[PassageEntities]:
    """The entities of each passage of one document, in order.

    A surname alone, after the full name, is a mention of the full one, in later passages too.
    """
    heading = split_words(title)
    titled = inherited = _strongest(aliases.title_aliases(heading))
    strength = _SUBJECT
    surnames: dict[int, int] = {}
    results: list[PassageEntities] = []
    for text in texts:
        reading = _read(text)
        if not results and _is_telling(heading, reading.found):
            strength = _BESIDE_TITLE
        subject = _strongest(reading.subject_names(strength))
        whole = reading.surnames(surnames)
        mentions = dict.fromkeys(whole.get(key, key) for key in reading.mentions())
        mentions |= dict.fromkeys(islice(subject, 1))
        candidates = dict.fromkeys(chain(mentions, reading.sequences()))
        abouts = _strongest(chain(inherited.items(), subject.items()))
        results.append(
            PassageEntities(
                abouts=tuple(abouts.items()),
                mentions=tuple(mentions),
                candidates=tuple(islice(candidates, _MOST_CANDIDATES)),
            )
        )
        if len(results) == 1 and not titled:
            inherited = {key: _INHERITED * strength for key, strength in subject.items()}
    return results


def mentioned_entities(text: str) -> dict[int, str]:
    """The names that a text mentions: their keys, and the form in which each comes first."""
    reading = _read(text)
    return {
        key: one if isinstance(one, str) else reading.found.surface(one)
        for key, one in reading.mentions().items()
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """A text with its words and names."""

    text: str
    found: Words
    content: list[bool] | None
    """None, unless capitals say nothing and key phrases stand for names: which words they have."""
    spans: list[Span]
    """The maximal names, and their keys."""
    keys: list[int]

    def mentions(self) -> dict[int, Span | str]:
        """By key: the first occurrence of each name; maximal names first."""
        found = self.found
        mentions: dict[int, Span | str] = {}
        for key, span in zip(self.keys, self.spans, strict=True):
            mentions.setdefault(key, span)
        for key, quoted in _quoted(self.text):
            mentions.setdefault(key, quoted)
        for key, span in _dates(found):
            mentions.setdefault(key, span)
        if self.content is None:
            for span in self.spans:
                for part in nested_name_spans(found, span):
                    mentions.setdefault(found.key(part), part)
        return mentions

    def sequences(self) -> Iterable[int]:
        """Keys of spans that may be titles of other passages, the first few hundred."""
        within = candidate_keys(self.found, _MOST_CANDIDATES)
        if self.content is None:
            return within
        runs = map(
            self.found.key, islice(phrases.content_runs(self.found, self.content), _MOST_CANDIDATES)
        )
        return chain(runs, within)

    def subject_names(self, strength: float) -> Iterator[Alias]:
        """Names of the subject of the first sentence; a list of names has none."""
        found, spans = self.found, self.spans
        if not spans or len(set(self.keys)) > _LIST:
            return
        span = aliases.subject(found, spans[0]) if self.content is None else aliases.opening(found)
        if span is not None:
            yield from aliases.subject_aliases(found, span, strength)
        if self.content is None:
            yield from aliases.other_names(found, spans)

    def surnames(self, known: dict[int, int]) -> dict[int, int]:
        """By key: the full name of each surname that occurs alone only after it.

        `known`: the full name of each surname so far in the document, 0 if it is that of two;
        those of this text are added.
        """
        whole: dict[int, int] = {}
        if self.content is not None:
            return whole
        alone = set[int]()
        for key, (first, last) in zip(self.keys, self.spans, strict=True):
            if first == last:
                if key not in alone and known.get(key):
                    whole[key] = known[key]
                alone.add(key)
            elif last - first < _LONGEST_PERSON and self._all_capitals(first, last):
                surname = self.found.key((last, last))
                known[surname] = key if known.get(surname, key) == key else 0
        return whole

    def _all_capitals(self, first: int, last: int) -> bool:
        return all(kind & CAPITAL for kind in self.found.kinds[first : last + 1])


def _read(text: str) -> _Reading:
    text = unicodedata.normalize("NFC", text)
    found = split_words(text)
    content = phrases.content(found) if phrases.has_no_case(text, found) else None
    spans = list(name_spans(found) if content is None else phrases.keyphrases(found, content))
    keys = list(map(found.key, spans))
    return _Reading(text=text, found=found, content=content, spans=spans, keys=keys)


def _is_telling(title: Words, first: Words) -> bool:
    """Whether a title names the subject: the first passage has half of its words or more.

    A file's name, a number or "Chapter three" is none.
    """
    telling = [
        key
        for key, kind in zip(title.keys, title.kinds, strict=True)
        if not kind & (COMMON | LINK | SHORT | DIGIT)
    ]
    shared = len(set(telling).intersection(first.keys))
    return 2 * shared >= len(telling) > 0


def _strongest(named_so: Iterable[Alias]) -> dict[int, float]:
    """By key: the highest strength given for a name; key 0 is left out."""
    strengths: dict[int, float] = {}
    for key, strength in named_so:
        if key and strength > strengths.get(key, 0.0):
            strengths[key] = strength
    return strengths


def _quoted(text: str) -> Iterator[tuple[int, str]]:
    """Quoted spans that begin with a capital: titles of works, nicknames."""
    for quoted in _QUOTED.findall(text) if _QUOTES.search(text) else ():
        if quoted[0].isupper():
            found = split_words(quoted)
            if 0 < len(found.keys) <= _LONGEST_QUOTED:
                yield span_key(found.keys), quoted


def _dates(found: Words) -> Iterator[tuple[int, Span]]:
    """The full dates, keyed as `1911-03-08` is: "8 March 1911" and "March 8, 1911" are one."""
    for at in [at for at, kind in enumerate(found.kinds) if kind & MONTH]:
        day = _number(found, at - 1, 31)
        year = _number(found, at + 1, 9999)
        first, last = at - 1, at + 1
        if not day or year < 1000:
            day, year = _number(found, at + 1, 31), _number(found, at + 2, 9999)
            first, last = at, at + 2
        if day and year >= 1000:
            text = (str(year), f"{month(found.word(at)):02}", f"{day:02}")
            yield span_key([word_key(part) for part in text]), (first, last)


def _number(found: Words, at: int, most: int) -> int:
    """The value of a word that is a number up to `most`; else 0."""
    if not 0 <= at < len(found.kinds) or not found.kinds[at] & DIGIT:
        return 0
    word = found.word(at)
    value = int(word) if word.isdecimal() and len(word) <= 4 else 0
    return value if value <= most else 0
