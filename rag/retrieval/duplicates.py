"""Duplicates among passages: copies of one text take one place in a ranking.

Two passages are copies if their texts are equal but for typography (case, spaces, punctuation at
words, invisible characters), or nearly: at least nine tenths of the words are the same in the same
order, and the rest is spelt differently ("harbour", "harbor") or stands before or after all that
the other has. So no text is hidden for one that says something else: texts that differ in a number,
a letter, a name, or a word inside are no copies, and of two copies the longer is shown.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.text.characters import searchable
from hoptrail.rag.types import Candidates, Hit, Passage, Rows

SAME_SHARE = 0.9
"""Least share of the longer text's words that are the same, 0..1."""
SELF_CONTAINED = 25
"""Words. A shorter text may be about what its title says: under another title it is no copy."""

_ROUGHLY = 0.5
_SPELT_ALIKE = 0.8
_SHORTEST_VARIANT, _LONGEST_VARIANT = 5, 40
_COMPARED = 300
"""Different texts that a text is compared with: work grows with the number of hits only."""
_EDGES = ".,;:!?\"'“”‘’„()[]«»…。，"
_DASHES = re.compile("[‐‑‒–—−]")
_CACHED = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    spelt: tuple[str, ...]
    folded: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Places of passages with one text, in a sequence of passages."""

    first: int
    """The first of them."""
    shown: int
    """The longest, or else the first."""
    members: tuple[int, ...]
    """All, ascending."""


def group_copies(passages: Sequence[Passage]) -> list[Group]:
    """Groups passages by text, in the order of the groups' first places."""
    rough = [_rough_words(passage.text) for passage in passages]
    groups: list[Group] = []
    for place, passage in enumerate(passages):
        for at, group in enumerate(groups[:_COMPARED]):
            shown = passages[group.shown]
            if _alike(rough[group.shown], rough[place]) and _are_copies(shown, passage):
                groups[at] = _with(group, place, passages)
                break
        else:
            groups.append(Group(first=place, shown=place, members=(place,)))
    return groups


def collapse_copies(hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The hits, best first, copies of one text in one hit: the best one's place and score."""
    passages = [hit.passage for hit in hits]
    return tuple(
        replace(
            hits[group.first],
            passage=passages[group.shown],
            copies=tuple(passages[one] for one in group.members if one != group.shown),
        )
        if len(group.members) > 1
        else hits[group.first]
        for group in group_copies(passages)
    )


def separate_copies(
    candidates: Candidates, resolve: Callable[[Rows], Sequence[Passage | None]], head: int
) -> tuple[Candidates, Rows]:
    """The candidates without copies of better ones, and the rows of those copies.

    Args:
        candidates: best first.
        resolve: returns the passages of rows.
        head: how many of the best must be different texts; if they are, nothing else is looked at.
    """
    if not _repeated(resolve(candidates.rows[:head])).any():
        return candidates, candidates.rows[:0]
    repeated = _repeated(resolve(candidates.rows))
    kept = Candidates(rows=candidates.rows[~repeated], scores=candidates.scores[~repeated])
    return kept, candidates.rows[repeated]


def followed_by(candidates: Candidates, rows: Rows) -> Candidates:
    """The candidates, and behind them with score 0 the rows that are not among them."""
    rows = np.setdiff1d(rows, candidates.rows)
    return Candidates(
        rows=np.concatenate((candidates.rows, rows)),
        scores=np.concatenate((candidates.scores, np.zeros(len(rows), dtype=np.float32))),
    )


def _repeated(passages: Sequence[Passage | None]) -> NDArray[np.bool_]:
    """(passages,): whether a passage is a copy of one before it."""
    flags = np.zeros(len(passages), dtype=np.bool_)
    there = [(at, one) for at, one in enumerate(passages) if one is not None]
    for group in group_copies([one for _, one in there]):
        flags[[there[member][0] for member in group.members[1:]]] = True
    return flags


def _with(group: Group, place: int, passages: Sequence[Passage]) -> Group:
    old, new = passages[group.shown].text, passages[place].text
    longer = len(_words(new).folded) > len(_words(old).folded)
    return replace(group, shown=place if longer else group.shown, members=(*group.members, place))


@lru_cache(maxsize=8192)
def _alike(some: frozenset[str], others: frozenset[str]) -> bool:
    """Whether two texts share half of their words: a quick look that spares the slow one."""
    least = _ROUGHLY * max(len(some), len(others))
    return min(len(some), len(others)) >= least and len(some & others) >= least


def _are_copies(one: Passage, other: Passage) -> bool:
    words, known = _words(one.text), _words(other.text)
    return _subject(one, words) == _subject(other, known) and (
        words.folded == known.folded or _are_near(words, known)
    )


def _are_near(one: _Words, other: _Words) -> bool:
    """Whether the longer text has the shorter in one piece, but for spelling, and little more."""
    short, long = sorted((one, other), key=lambda words: len(words.folded))
    spare = len(long.folded) - len(short.folded)
    allowed = int((1 - SAME_SHARE) * len(long.folded) + 1e-9) - spare
    return allowed >= 0 and any(
        _are_variants(short, long, start, allowed) for start in range(spare + 1)
    )


def _are_variants(short: _Words, long: _Words, start: int, allowed: int) -> bool:
    """Whether words are those of `long` from `start` on, up to `allowed` of them misspelt."""
    pairs = zip(short.folded, islice(long.folded, start, None), strict=False)
    for at, (one, other) in enumerate(pairs):
        if one != other:
            allowed -= 1
            if allowed < 0 or not _is_variant(short.spelt[at], long.spelt[start + at]):
                return False
    return True


def _is_variant(one: str, other: str) -> bool:
    """Whether a word is the other spelt differently: no name, no number, no short word."""
    return (
        min(len(one), len(other)) >= _SHORTEST_VARIANT
        and max(len(one), len(other)) <= _LONGEST_VARIANT
        and (one + other).isalpha()
        and (one + other).islower()
        and one[0] == other[0]
        and SequenceMatcher(None, one, other).ratio() >= _SPELT_ALIKE
    )


def _subject(passage: Passage, text: _Words) -> tuple[str, ...]:
    """The words of a title without which a short text could be misread; none otherwise.

    A title made from the name of the file says nothing of the text.
    """
    if len(text.folded) >= SELF_CONTAINED or not passage.title:
        return ()
    words = _words(passage.title).folded
    return () if _letters(passage.title) in _letters(passage.document_id) else words


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, searchable(text).casefold()))


def _words_of(text: str) -> _Words:
    chunks = _DASHES.sub("-", searchable(text)).split()
    spelt = tuple(filter(None, (chunk.strip(_EDGES) for chunk in chunks)))
    folded = tuple(word.casefold() for word in spelt)
    return _Words(spelt=spelt, folded=folded)


def _bag_of(text: str) -> frozenset[str]:
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return frozenset(plain.casefold().split())


_words: Callable[[str], _Words] = lru_cache(maxsize=_CACHED)(_words_of)
_rough_words: Callable[[str], frozenset[str]] = lru_cache(maxsize=_CACHED)(_bag_of)
