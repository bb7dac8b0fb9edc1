"""Words of a text and the spans of them that may be names: one pass of one expression.

A word's key is the 64-bit BLAKE2b hash of its folded form, and a span's key is its words' keys
combined as a polynomial: `key(w1 .. wn) = (key(w1 .. wn-1) * _BASE + key(wn)) mod 2^64`. So the
keys of all spans that begin at a word cost one multiplication each, and no joined string is made.
Two names meet in one key by chance with probability 2^-64.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import regex

LONGEST = 8
"""Words that a span has at most, if it is to be looked up as another passage's title."""

CAPITAL, DIGIT, COMMON, LINK, SHORT, ABBREVIATION = (1 << bit for bit in range(6))
"""What a word's kind says of it."""

NONE, CLAUSE, SENTENCE, PERIOD = range(4)
"""What the gap before a word ends: nothing, a clause, a sentence, or (a full stop: it depends on
the word before it) one of the latter two."""

Span = tuple[int, int]
"""First and last word of a span, both included."""

_BASE = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_MOST_REMEMBERED = 1 << 17
_LONGEST_REMEMBERED = 48

# Initials with full stops are one word, however they are spaced; so is a number with its
# separators. "'s" is no part of a word.
_WORD = regex.compile(
    r"(\p{L}\.(?:[ \u00A0]?\p{L}\.)+|\p{Nd}+(?:[.,]\p{Nd}+)*\w*|\w+(?:['’](?![sS]\b)\p{L}+)*)"
)
_SEPARATOR = re.compile(r"[.,](?=\d{3}(?:\D|$))")
_INSIDE = re.compile(r"[.'’\s]")
_ENDS_SENTENCE = re.compile(r"[!?:;\n\r\f\u2028\u2029]|\.(?=.*\.)")

_LINKS = frozenset(
    "of the de del della di da du des van von der den la le el al ibn bin and for in on at to a an "  # noqa: SIM905
    "with from by d' y e und et".split()
)
_ABBREVIATIONS = frozenset("st mt dr mr mrs ms sr jr fr col capt gen lt sgt no vs".split())  # noqa: SIM905
_COMMON = frozenset(
    """a about after all also although an and any are as at be because before being both but by can
    could did do does during each either even every for from further had has have he her here him
    his how however i if in into is it its later like many may more most much my near neither no nor
    not now of on once one only or other our out over she since so some such than that the their
    them then there these they this those though through thus to under until up upon was we were
    what when where whether which while who whom whose why will with within without would yet you
    your despite according among between several two three four five following today
    january february march april may june july august september october november december
    monday tuesday wednesday thursday friday saturday sunday""".split()  # noqa: SIM905 - readable so
)


def fold(word: str) -> str:
    """Lower case, without accents, full stops, apostrophes and thousands separators."""
    bare = unicodedata.normalize("NFKD", word)
    bare = "".join(c for c in bare if not unicodedata.combining(c)).casefold()
    if bare[:1].isdigit():
        return _SEPARATOR.sub("", bare)
    return _INSIDE.sub("", bare)


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The words of a text; all lists but `parts` have one entry a word."""

    parts: list[str]
    """Gap, word, gap, word, ..., gap: joined they are the text (NFC)."""

    keys: list[int]
    """Unsigned 64-bit hashes of the folded words."""

    kinds: list[int]
    breaks: list[int]
    """What ends before each word: NONE, CLAUSE or SENTENCE."""

    def surface(self, span: Span) -> str:
        """The span as it stands in the text."""
        return "".join(self.parts[2 * span[0] + 1 : 2 * span[1] + 2])

    def key(self, span: Span) -> int:
        """The span's key, signed."""
        return combine(self.keys[span[0] : span[1] + 1])


def words(text: str) -> Words:
    """The words of a text."""
    parts = _WORD.split(unicodedata.normalize("NFC", text))
    infos = [_KNOWN[word] for word in parts[1::2]]
    breaks = [_GAPS[gap] for gap in parts[:-1:2]]
    if breaks:
        breaks[0] = SENTENCE
    for at, found in enumerate(breaks):
        if found == PERIOD:
            closed = infos[at - 1][1] & (ABBREVIATION | SHORT) == 0
            breaks[at] = SENTENCE if closed else NONE
    return Words(
        parts=parts,
        keys=[key for key, _ in infos],
        kinds=[kind for _, kind in infos],
        breaks=breaks,
    )


def combine(keys: list[int]) -> int:
    """The key of a sequence of words, signed 64 bits; 0 for none."""
    key = 0
    for word in keys:
        key = (key * _BASE + word) & _MASK
    return signed(key)


def signed(key: int) -> int:
    """An unsigned 64-bit number as the signed one of the same bits."""
    return key - (1 << 64) if key >> 63 else key


def names(found: Words) -> Iterator[Span]:
    """The maximal names: runs of capitalised words and numbers, with joining words inside.

    Common words are cut from both ends; what is left has a capitalised word.
    """
    kinds, breaks, after = found.kinds, found.breaks, 0
    for start, kind in enumerate(kinds):
        if start < after or not kind & CAPITAL:
            continue
        last = _run(kinds, breaks, start)
        after = last + 1
        first = start
        while first <= last and kinds[first] & COMMON:
            first += 1
        while last >= first and kinds[last] & COMMON:
            last -= 1
        if any(kinds[at] & CAPITAL for at in range(first, last + 1)):
            yield first, last


def _run(kinds: list[int], breaks: list[int], start: int) -> int:
    """The last word of the run of capitalised words that begins at `start`."""
    last = at = start
    while at + 1 < len(kinds) and breaks[at + 1] == NONE:
        at += 1
        if kinds[at] & (CAPITAL | DIGIT):
            last = at
        elif not kinds[at] & LINK or at - last > 2:
            break
    return last


def sequences(found: Words) -> Iterator[int]:
    """The keys (unsigned) of all spans within a clause that begin and end with a capital or digit.

    One comma may stand inside. A common word or a number alone is none.
    """
    keys, kinds, breaks = found.keys, found.kinds, found.breaks
    for start, kind in enumerate(kinds):
        if not kind & (CAPITAL | DIGIT):
            continue
        key, clauses = keys[start], 0
        if not kind & (DIGIT | COMMON | SHORT):
            yield key
        for at in range(start + 1, min(len(kinds), start + LONGEST)):
            if breaks[at]:
                clauses += breaks[at]
                if clauses > CLAUSE:
                    break
            key = (key * _BASE + keys[at]) & _MASK
            if kinds[at] & (CAPITAL | DIGIT):
                yield key


class _Known(dict[str, tuple[int, int]]):
    """Key and kind of each word seen lately."""

    def __missing__(self, word: str) -> tuple[int, int]:
        folded = fold(word)
        digest = hashlib.blake2b(folded.encode(errors="surrogatepass"), digest_size=8).digest()
        info = int.from_bytes(digest, "little"), _kind(word, folded)
        if len(word) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[word] = info
        return info


class _Gaps(dict[str, int]):
    """What each gap between words ends."""

    def __missing__(self, gap: str) -> int:
        ends = _gap(gap)
        if len(gap) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[gap] = ends
        return ends


_KNOWN, _GAPS = _Known(), _Gaps()


def _kind(word: str, folded: str) -> int:
    first = word[0]
    kind = CAPITAL if first.isupper() or first.istitle() else DIGIT if first.isdigit() else 0
    kind |= COMMON if folded in _COMMON else 0
    kind |= LINK if folded in _LINKS else 0
    kind |= SHORT if len(folded) < 2 else 0
    return kind | (ABBREVIATION if folded in _ABBREVIATIONS else 0)


def _gap(gap: str) -> int:
    if _ENDS_SENTENCE.search(gap):
        return SENTENCE
    bare = gap.strip()
    if bare in {"", "&", "-", "–", "'", "’", "/"}:
        return NONE
    if bare.startswith("."):
        return PERIOD
    return SENTENCE if "." in bare else CLAUSE
