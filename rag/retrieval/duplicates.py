"""Duplicates among passages: copies of one text take one place in a ranking.

Two passages are copies if their texts are equal but for typography (case, spaces, punctuation at
words, invisible characters), or nearly: at least nine tenths of the words are the same in the same
order, and the rest is spelt differently ("harbour", "harbor") or stands before or after all that
the other has. So no text is hidden for one that says something else: texts that differ in a number,
a letter, a name, or a word inside are no copies, and of two copies the longer is shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hoptrail.rag.text.characters import searchable
from hoptrail.rag.types import Candidates, Hit, Passage, Rows

SAME_SHARE = 0.9
"""Least share of the longer text's words that are the same, 0..1."""
SELF_CONTAINED = 25
"""Words. A shorter text may be about what its title says: under another title it is no copy."""

_SPELT_ALIKE = 0.8
_SHORTEST_VARIANT = 5
_EDGES = ".,;:!?\"'“”‘’„()[]«»…。，"
_DASHES = re.compile("[‐‑‒–—−]")
_CACHED = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    spelt: tuple[str, ...]
    folded: tuple[str, ...]
    bag: frozenset[str]


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
    words = [_words(passage.text) for passage in passages]
    subjects = [_subject(*pair) for pair in zip(passages, words, strict=True)]
    groups: list[Group] = []
    by_text: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    for place, key in enumerate(zip((one.folded for one in words), subjects, strict=True)):
        at = by_text.get(key)
        if at is None:
            nearly = (
                number
                for number, group in enumerate(groups)
                if subjects[group.shown] == subjects[place]
                and _are_near(words[group.shown], words[place])
            )
            at = next(nearly, len(groups))
            by_text[key] = at
        if at == len(groups):
            groups.append(Group(first=place, shown=place, members=(place,)))
            continue
        group = groups[at]
        longer = len(words[place].folded) > len(words[group.shown].folded)
        shown = place if longer else group.shown
        groups[at] = replace(group, shown=shown, members=(*group.members, place))
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


def _are_near(one: _Words, other: _Words) -> bool:
    """Whether two texts differ in spelling, or at one end, and in a tenth at most."""
    most = max(len(one.folded), len(other.folded))
    if min(len(one.folded), len(other.folded)) < SAME_SHARE * most:
        return False
    # A word may stand more than once: what two bags share says less than what two texts share.
    if len(one.bag & other.bag) < (2 * SAME_SHARE - 1) * max(len(one.bag), len(other.bag)):
        return False
    matcher = SequenceMatcher(None, one.folded, other.folded, autojunk=False)
    same, added = 0, set[str]()
    for kind, start, end, from_, to in matcher.get_opcodes():
        if kind == "equal":
            same += end - start
        elif kind == "replace":
            if not _are_variants(one.spelt[start:end], other.spelt[from_:to]):
                return False
        else:
            at_start = start == from_ == 0
            at_end = end == len(one.folded) and to == len(other.folded)
            if not (at_start or at_end):
                return False
            added.add(kind)
    return len(added) < 2 and same >= SAME_SHARE * most


def _are_variants(some: Sequence[str], others: Sequence[str]) -> bool:
    """Whether words are others spelt differently: no names, no numbers, no short words."""
    return len(some) == len(others) and all(
        min(len(one), len(other)) >= _SHORTEST_VARIANT
        and (one + other).isalpha()
        and (one + other).islower()
        and one[0] == other[0]
        and SequenceMatcher(None, one, other).ratio() >= _SPELT_ALIKE
        for one, other in zip(some, others, strict=True)
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
    return _Words(spelt=spelt, folded=folded, bag=frozenset(folded))


_words: Callable[[str], _Words] = lru_cache(maxsize=_CACHED)(_words_of)
