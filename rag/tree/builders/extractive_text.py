"""Extractive node texts: titles, key phrases and first sentences, for a tree without a model.

A node's text is the titles of leaves near its middle, the phrases that many of its leaves have and
few of its siblings' do (TF-IDF, a node being a document and its siblings the collection), and the
sentence that its middle leaf begins with. A phrase is a run of content words (as in `phrases`).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import nsmallest
from itertools import chain, islice

import numpy as np

from hoptrail.rag.entities.keyphrases import stop_words_of
from hoptrail.rag.entities.words import normalize, split_words
from hoptrail.rag.tree.types import ROOT, Leaves, Tree

_LOOKED_AT = 28
"""Leaves of a node that are read."""
_READ = 1500
"""Characters of a leaf that are."""
_WORDS = 80
_TITLES = 45
"""Words of titles."""
_TITLE = 12
_PHRASES = 12
_LONELY = 4
"""Phrases that a single leaf has."""
_SENTENCE = 25
_CHARACTERS = 800
_NOTHING = "untitled"

_TOLD_BY = 500
"""Words that the language of siblings is told by."""
_INSIDE = frozenset({"", " "})
"""Between the words of a phrase."""
_LONGEST = 4
"""Words of a phrase."""
_LONGER = 0.4
"""By how much one more word makes a phrase say more."""

_WORD = re.compile(r"([^\W_]+(?:['’-][^\W_]+)*)")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_ENDS = re.compile(r"(?<=[^\s.]{2}[.!?])\s|(?<=[。！？])|\n\s*\n")


def with_extractive_texts(tree: Tree, leaves: Leaves) -> Tree:
    """Gives every node but the root an extractive text; texts that are there stay."""
    untold = [node.number for node in tree.walk() if node.number != ROOT and not node.text]
    nodes = dict(tree.nodes)
    for number, text in extractive_texts(tree, untold, leaves).items():
        nodes[number] = replace(nodes[number], text=text)
    return replace(tree, nodes=nodes)


def extractive_texts(tree: Tree, numbers: Sequence[int], leaves: Leaves) -> dict[int, str]:
    """Extractive texts of some nodes, by number: about 80 words at most, never blank.

    The same leaves and the same siblings give the same text.
    """
    wanted = set(numbers)
    found: dict[int, str] = {}
    for parent in dict.fromkeys(tree.nodes[number].parent for number in numbers):
        family = _family(tree, tree.nodes[parent].children, leaves)
        common = Counter(key for one in family for key in one.counts)
        for one in family:
            if one.number in wanted:
                found[one.number] = _text(one, common, len(family))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Profile:
    """What the leaves of one node say."""

    number: int
    texts: tuple[str, ...]
    """Nearest to the middle first."""
    counts: Counter[str]
    """By folded phrase: how many of them have it."""
    shown: dict[str, str]
    """By folded phrase: as it stands where it comes first."""


def _family(tree: Tree, children: Sequence[int], leaves: Leaves) -> list[_Profile]:
    """The profiles of siblings; leaves are read all at once."""
    looked_at = [_some(tree, child) for child in children]
    rows = [row for some in looked_at for row in some]
    read, vectors = leaves.texts(rows), leaves.vectors(rows)
    told: list[tuple[str, ...]] = []
    start = 0
    for child, some in zip(children, looked_at, strict=True):
        near = vectors[start : start + len(some)] @ tree.totals[child]
        order = np.argsort(-near, kind="stable") + start
        told.append(tuple(read[at][:_READ].strip() for at in order.tolist() if read[at].strip()))
        start += len(some)
    parts = [[_parts(text) for text in some] for some in told]
    words_ = chain.from_iterable(divided[1::2] for some in parts for divided in some)
    tells = _Tells(stop_words_of([normalize(word) for word in islice(words_, _TOLD_BY)]))
    return [
        _profile(child, some, divided, tells)
        for child, some, divided in zip(children, told, parts, strict=True)
    ]


def _some(tree: Tree, number: int) -> list[int]:
    """Leaves of a node, evenly from the first to the last."""
    rows = [row for node in tree.walk(number) for row in node.rows]
    if len(rows) <= _LOOKED_AT:
        return rows
    return [rows[at] for at in np.linspace(0, len(rows) - 1, _LOOKED_AT).astype(int).tolist()]


def _parts(text: str) -> list[str]:
    """Gap, word, gap, ..., gap."""
    return split_words(text).parts if _UNSPACED.search(text) else _WORD.split(text)


class _Tells(dict[str, bool]):
    """Whether a word is a content word; each is looked at once."""

    def __init__(self, stops: frozenset[str]) -> None:
        super().__init__()
        self._stops = stops

    def __missing__(self, word: str) -> bool:
        self[word] = found = (
            len(word) > 1 and not word.isdigit() and normalize(word) not in self._stops
        )
        return found


def _profile(
    number: int, texts: tuple[str, ...], parts: Iterable[Sequence[str]], tells: _Tells
) -> _Profile:
    counts: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for divided in parts:
        found = {phrase.casefold(): phrase for phrase in _phrases(divided, tells)}
        counts.update(found.keys())
        shown = found | shown
    return _Profile(number=number, texts=texts, counts=counts, shown=shown)


def _phrases(parts: Sequence[str], tells: _Tells) -> Iterator[str]:
    """The content words, and their runs."""
    run: list[str] = []
    for gap, word in zip(parts[::2], [*parts[1::2], ""], strict=True):
        told = tells[word]
        if run and not (told and gap in _INSIDE and len(run) < _LONGEST):
            if len(run) > 1:
                yield " ".join(run)
            run = []
        if told:
            run.append(word)
            yield word


def _text(profile: _Profile, common: Counter[str], siblings: int) -> str:
    """The text of a node, given how many of the siblings have each phrase."""
    titles = _titles(profile.texts)
    said = {word.casefold() for title in titles for word in _WORD.findall(title)}
    keys = list(_telling(profile, common, siblings, said))
    parts = ["; ".join(titles), ", ".join(profile.shown[key] for key in keys)]
    room = _WORDS - sum(len(part.split()) for part in parts)
    opening = " ".join(_opening(profile.texts).split()[: min(room, _SENTENCE)])
    parts.append(opening)
    whole = ". ".join(part for part in parts if part)
    return whole[:_CHARACTERS].strip() or _NOTHING


def _telling(
    profile: _Profile, common: Counter[str], siblings: int, said: set[str]
) -> Iterator[str]:
    """The phrases that tell a node from its siblings and that say something new, best first."""
    rarity = [0.0, *(math.log((1 + siblings) / having) for having in range(1, siblings + 1))]

    def weight(key: str) -> float:
        return profile.counts[key] * rarity[common[key]] * (1 + _LONGER * key.count(" "))

    lonely = [key for key, count in profile.counts.items() if count == 1]
    shared = profile.counts.keys() - set(lonely)
    found = 0
    for keys, most in ((shared, _PHRASES), (lonely, _LONELY)):
        # A phrase is seldom passed over: the best few are enough to choose from.
        for key in nsmallest(4 * _PHRASES, keys, key=lambda key: (-weight(key), key)):
            if found >= most:
                break
            new = set(key.split()) - said
            if new:
                said |= new
                found += 1
                yield key


def _titles(texts: Sequence[str]) -> list[str]:
    """Titles, each once, as many as there is room for."""
    titles = dict.fromkeys(
        " ".join(text.partition("\n")[0].split()[:_TITLE]) for text in texts if "\n" in text
    )
    chosen: list[str] = []
    room = _TITLES
    for title in titles:
        room -= len(title.split())
        if title and room >= 0:
            chosen.append(title)
    return chosen


def _opening(texts: Sequence[str]) -> str:
    """The first sentence of the middle leaf."""
    for text in texts[:1]:
        body = (text.partition("\n")[2] or text).strip()
        return _ENDS.split(body, maxsplit=1)[0]
    return ""
