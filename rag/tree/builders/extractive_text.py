"""Extractive node texts: titles, key phrases and first sentences, for a tree without a model.

A node's text is the titles of leaves near its middle, the phrases that many of its leaves have and
few of its siblings' do (TF-IDF, a node being a document and its siblings the collection), and the
sentence that its middle leaf begins with. A phrase is a run of content words.
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

_SAMPLED = 28
"""Maximum number of leaves of a node that are read."""
_READ = 1500
"""Characters of a leaf that are read."""
_WORDS = 80
_TITLES = 45
"""Maximum number of words of all titles."""
_TITLE = 12
_PHRASES = 12
_SINGLE = 4
"""Maximum number of phrases that only one leaf has."""
_SENTENCE = 25
_CHARACTERS = 800
_NOTHING = "untitled"

_DETECTED_BY = 500
"""Words from which the language of siblings is detected."""
_INSIDE = frozenset({"", " "})
"""Gaps that may separate the words of a phrase."""
_LONGEST = 4
"""Maximum number of words of a phrase."""
_LONGER = 0.4
"""Bonus of each further word of a phrase, as a share of its weight."""

_WORD = re.compile(r"([^\W_]+(?:['’-][^\W_]+)*)")
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")
_ENDS = re.compile(r"(?<=[^\s.]{2}[.!?])\s|(?<=[。！？])|\n\s*\n")


def with_extractive_texts(tree: Tree, leaves: Leaves) -> Tree:
    """Gives every node but the root an extractive text; texts that are there stay."""
    unwritten = [node.number for node in tree.walk() if node.number != ROOT and not node.text]
    nodes = dict(tree.nodes)
    for number, text in extractive_texts(tree, unwritten, leaves).items():
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
    """Phrases and texts of the leaves of one node."""

    number: int
    texts: tuple[str, ...]
    """Texts of its leaves, nearest to the centroid first."""
    counts: Counter[str]
    """By folded phrase: number of leaves that have it."""
    shown: dict[str, str]
    """By folded phrase: its first spelling."""


def _family(tree: Tree, children: Sequence[int], leaves: Leaves) -> list[_Profile]:
    """The profiles of sibling nodes."""
    sampled = [_some(tree, child) for child in children]
    rows = [row for some in sampled for row in some]
    read, vectors = leaves.texts(rows), leaves.vectors(rows)
    texts: list[tuple[str, ...]] = []
    start = 0
    for child, some in zip(children, sampled, strict=True):
        near = vectors[start : start + len(some)] @ tree.totals[child]
        order = np.argsort(-near, kind="stable") + start
        texts.append(tuple(read[at][:_READ].strip() for at in order.tolist() if read[at].strip()))
        start += len(some)
    parts = [[_parts(text) for text in some] for some in texts]
    words_ = chain.from_iterable(divided[1::2] for some in parts for divided in some)
    content = _ContentWords(
        stop_words_of([normalize(word) for word in islice(words_, _DETECTED_BY)])
    )
    return [
        _profile(child, some, divided, content)
        for child, some, divided in zip(children, texts, parts, strict=True)
    ]


def _some(tree: Tree, number: int) -> list[int]:
    """Leaves of a node, evenly spaced from the first to the last."""
    rows = [row for node in tree.walk(number) for row in node.rows]
    if len(rows) <= _SAMPLED:
        return rows
    return [rows[at] for at in np.linspace(0, len(rows) - 1, _SAMPLED).astype(int).tolist()]


def _parts(text: str) -> list[str]:
    """Splits a text into gap, word, gap, ..., gap."""
    return split_words(text).parts if _UNSPACED.search(text) else _WORD.split(text)


class _ContentWords(dict[str, bool]):
    """By word: whether it is a content word; computed once."""

    def __init__(self, stops: frozenset[str]) -> None:
        super().__init__()
        self._stops = stops

    def __missing__(self, word: str) -> bool:
        self[word] = found = (
            len(word) > 1 and not word.isdigit() and normalize(word) not in self._stops
        )
        return found


def _profile(
    number: int, texts: tuple[str, ...], parts: Iterable[Sequence[str]], content: _ContentWords
) -> _Profile:
    counts: Counter[str] = Counter()
    shown: dict[str, str] = {}
    for divided in parts:
        found = {phrase.casefold(): phrase for phrase in _phrases(divided, content)}
        counts.update(found.keys())
        shown = found | shown
    return _Profile(number=number, texts=texts, counts=counts, shown=shown)


def _phrases(parts: Sequence[str], content: _ContentWords) -> Iterator[str]:
    """Content words, and runs of them."""
    run: list[str] = []
    for gap, word in zip(parts[::2], [*parts[1::2], ""], strict=True):
        is_content = content[word]
        if run and not (is_content and gap in _INSIDE and len(run) < _LONGEST):
            if len(run) > 1:
                yield " ".join(run)
            run = []
        if is_content:
            run.append(word)
            yield word


def _text(profile: _Profile, common: Counter[str], siblings: int) -> str:
    """The text of a node, given how many of the siblings have each phrase."""
    titles = _titles(profile.texts)
    said = {word.casefold() for title in titles for word in _WORD.findall(title)}
    keys = list(_distinctive(profile, common, siblings, said))
    parts = ["; ".join(titles), ", ".join(profile.shown[key] for key in keys)]
    room = _WORDS - sum(len(part.split()) for part in parts)
    opening = " ".join(_opening(profile.texts).split()[: min(room, _SENTENCE)])
    parts.append(opening)
    whole = ". ".join(part for part in parts if part)
    return whole[:_CHARACTERS].strip() or _NOTHING


def _distinctive(
    profile: _Profile, common: Counter[str], siblings: int, said: set[str]
) -> Iterator[str]:
    """Phrases that distinguish a node from its siblings and add new words, best first."""
    rarity = [0.0, *(math.log((1 + siblings) / having) for having in range(1, siblings + 1))]

    def weight(key: str) -> float:
        return profile.counts[key] * rarity[common[key]] * (1 + _LONGER * key.count(" "))

    single = [key for key, count in profile.counts.items() if count == 1]
    shared = profile.counts.keys() - set(single)
    found = 0
    for keys, most in ((shared, _PHRASES), (single, _SINGLE)):
        # A phrase is seldom skipped: the best few are enough to choose from.
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
