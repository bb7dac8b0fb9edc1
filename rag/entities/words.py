"""Word tokenisation, and the spans of words that may be names.

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
from functools import lru_cache
from itertools import accumulate

import regex

LONGEST = 8
"""Maximum number of words of a span that is looked up as a title."""

CAPITAL, DIGIT, COMMON, LINK, SHORT, ABBREVIATION, OPENER, MONTH, INNER = (
    1 << bit for bit in range(9)
)
"""What a word's kind says of it. INNER: what follows a capitalised word and a hyphen; it counts as
capitalised too ("Kim Jong-il"), but no span begins there."""

NONE, CLAUSE, SENTENCE = range(3)
"""What the gap before a word ends."""

Span = tuple[int, int]
"""First and last word of a span, both included."""

_PERIOD, _HYPHEN = 3, 4  # gaps whose meaning depends on the words around them
_BASE = 0x9E3779B97F4A7C15
_WHOLE, _HALF, _MASK = 1 << 64, (1 << 63) - 1, (1 << 64) - 1
_POWERS = [pow(_BASE, length, 1 << 64) for length in range(LONGEST + 1)]
_LONGEST_NAME = 16
_MOST_REMEMBERED = 1 << 17
_LONGEST_REMEMBERED = 48

# Initials with full stops are one word, however they are spaced; so is a number with its
# separators. "'s" is no part of a word. {w}: a character of words, {l}: one but no digit.
_WORD = (
    r"{w}++(?:(?=['’.,])(?:(?<!\d)['’](?![sS](?!{w})){l}++|(?<=\d)(?:[.,]\d++)++{w}*+"
    r"|(?<={w})(?<!{w}{w})\.(?:[ \u00A0]?{l}\.)++))*+"
)
_PLAIN = re.compile("(" + _WORD.replace("{w}", r"[^\W_]").replace("{l}", r"[^\W\d_]") + ")")
# The standard library's expressions are 2.5 times faster, but know neither marks nor scripts. In
# Chinese and Japanese a character is a word, and of the syllabaries a run.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー"
_INTRICATE = regex.compile(rf"[\p{{M}}{_UNSPACED}]")
_FULL = regex.compile(
    r"(?V1)(\p{Han}|\p{Hiragana}+|[\p{Katakana}ー]+|"
    + _WORD.replace("{w}", rf"[\p{{L}}\p{{N}}\p{{M}}--[{_UNSPACED}]]").replace(
        "{l}", rf"[\p{{L}}\p{{N}}\p{{M}}--[\p{{Nd}}{_UNSPACED}]]"
    )
    + ")"
)
_SEPARATOR = re.compile(r"[.,](?=\d{3}(?:\D|$))")
_INSIDE = re.compile(r"[.'’\s]")
_ENDS_SENTENCE = re.compile(r"[!?:;\n\r\f\u2028\u2029。！？；：]|\.(?=.*\.)")

_LINKS = frozenset(
    "of the de del della di da du des van von der den la le el al ibn bin and for d' y e und "  # noqa: SIM905
    "et".split()
)
_LOOSE_LINKS = frozenset({"of", "and", "for", "the"})
_ABBREVIATIONS = frozenset("st mt dr mr mrs ms sr jr fr col capt gen lt sgt no vs".split())  # noqa: SIM905
_MONTHS = tuple(
    "january february march april may june july august september october november "  # noqa: SIM905
    "december".split()
)
# Words that are capitalised at the head of sentences and questions without being names.
COMMON_WORDS = frozenset(
    """a about after all also although an and any are as at be because before being both but by can
    could did do does during each either even every for from further had has have he her here him
    his how however i if in into is it its later like many may more most much my near neither no nor
    not now of on once one only or other our out over she since so some such than that the their
    them then there these they this those though through thus to under until up upon was we were
    what when where whether which while who whom whose why will with within without would yet you
    your despite according among between several two three four five following today
    monday tuesday wednesday thursday friday saturday sunday""".split()  # noqa: SIM905 - readable so
).union(_MONTHS)
# Words that head sentences, and names only by accident.
OPENERS = frozenset(
    """additionally again almost along amongst another around based besides born built currently
    directed due eventually except finally find formerly founded generally give given having
    hence historically indeed initially instead just known list located meanwhile members name
    nevertheless nonetheless normally notable note numerous occasionally officially often
    originally others outside particularly previously primarily prior produced rather recently
    released shortly similarly situated sometimes soon specifically starring subsequently tell
    therefore throughout together typically unfortunately unlike using usually various whilst
    written""".split()  # noqa: SIM905
)
# What a hyphen joins to a name without making it part of the name: "Paris-based".
_TAILS = frozenset(
    """affiliated area backed based born centered class controlled educated era influenced inspired
    language led level like made occupied only owned related ruled speaking style trained type wide
    winning""".split()  # noqa: SIM905
)
_JOINS = frozenset({"", "&", "–", "'", "’", "/", "_"})


def normalize(word: str) -> str:
    """Lower case, without accents, full stops, apostrophes and thousands separators."""
    return _fold(word) if len(word) <= _LONGEST_REMEMBERED else _fold.__wrapped__(word)


@lru_cache(maxsize=1 << 16)
def _fold(word: str) -> str:
    bare = unicodedata.normalize("NFKD", word)
    bare = "".join(c for c in bare if not unicodedata.combining(c)).casefold()
    return _SEPARATOR.sub("", bare) if bare[:1].isdigit() else _INSIDE.sub("", bare)


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

    def word(self, at: int) -> str:
        """A word as spelled in the text."""
        return self.parts[2 * at + 1]

    def gap(self, at: int) -> str:
        """The gap before a word, or at the end of the text."""
        return self.parts[2 * at]

    def surface(self, span: Span) -> str:
        """The span as spelled in the text."""
        return "".join(self.parts[2 * span[0] + 1 : 2 * span[1] + 2])

    def key(self, span: Span) -> int:
        """The span's key, signed."""
        return span_key(self.keys[span[0] : span[1] + 1])


def split_words(text: str) -> Words:
    """Splits a text into words."""
    text = unicodedata.normalize("NFC", text)
    intricate = not text.isascii() and _INTRICATE.search(text)
    parts = (_FULL if intricate else _PLAIN).split(text)
    if len(parts) == 1:
        return Words(parts=parts, keys=[], kinds=[], breaks=[])
    infos = list(map(_KNOWN.__getitem__, parts[1::2]))
    keys, kinds = map(list, zip(*infos, strict=True))
    breaks = list(map(_GAPS.__getitem__, parts[:-1:2]))
    breaks[0] = SENTENCE
    for at, ends in enumerate(breaks):
        if ends > SENTENCE:
            breaks[at] = _settle(parts, kinds, at, ends)
    return Words(parts=parts, keys=keys, kinds=kinds, breaks=breaks)


def _settle(parts: list[str], kinds: list[int], at: int, ends: int) -> int:
    """What a full stop or a hyphen before a word ends, given the word before it."""
    before = kinds[at - 1]
    if ends == _PERIOD:
        return NONE if before & (ABBREVIATION | SHORT) else SENTENCE
    joined = before & CAPITAL and not kinds[at] & (CAPITAL | DIGIT | COMMON)
    if joined and normalize(parts[2 * at + 1]) not in _TAILS:
        kinds[at] |= CAPITAL | INNER
    return NONE


def span_key(keys: list[int]) -> int:
    """The key of a sequence of words, signed 64 bits; 0 for none."""
    key = 0
    for word in keys:
        key = (key * _BASE + word) & _MASK
    return key if key <= _HALF else key - _WHOLE


def word_key(word: str) -> int:
    """The key (unsigned) of a single word."""
    return _KNOWN[word][0]


def name_spans(found: Words) -> Iterator[Span]:
    """The maximal names: runs of capitalised words and numbers, with joining words inside.

    Common words are cut from both ends, and from the head of a sentence those that open
    sentences; what is left has a capitalised word.
    """
    kinds, breaks, after = found.kinds, found.breaks, 0
    for start in [at for at, kind in enumerate(kinds) if kind & (CAPITAL | INNER) == CAPITAL]:
        if start < after:
            continue
        last = _run(kinds, breaks, start)
        after = last + 1
        first = start
        while first <= last and _no_head(kinds[first], breaks[first]):
            first += 1
        while last >= first and kinds[last] & COMMON:
            last -= 1
        whole = first == start <= last
        if whole or any(kinds[at] & CAPITAL for at in range(first, last + 1)):
            yield first, last


def _no_head(kind: int, ends: int) -> int:
    return kind & COMMON or (ends == SENTENCE and kind & OPENER)


def _run(kinds: list[int], breaks: list[int], start: int) -> int:
    """The last word of the run of capitalised words that begins at `start`."""
    last = start
    for at in range(start + 1, min(len(kinds), start + _LONGEST_NAME)):
        if breaks[at] != NONE:
            break
        if kinds[at] & (CAPITAL | DIGIT):
            last = at
        elif not kinds[at] & LINK or at - last > 2:
            break
    return last


def nested_name_spans(found: Words, name: Span) -> Iterator[Span]:
    """The names that "of", "and" or "for" hold together in a longer one: "Oxford", "Lord Byron".

    The head is one only if it has two words: "University of Oxford" mentions no "University".
    """
    first, last = name
    kinds, start = found.kinds, first
    if last - first < 2:
        return
    for at in range(first, last + 2):
        if at <= last and not (kinds[at] & LINK and found.word(at) in _LOOSE_LINKS):
            continue
        long_enough = at - 1 > start or start > first
        if start < at and long_enough and (start, at - 1) != name and not kinds[start] & COMMON:
            yield start, at - 1
        start = at + 1


def candidate_keys(found: Words, most: int) -> list[int]:
    """The keys of the spans within a clause that begin and end with a capital or digit.

    One comma may stand inside. A common word or a number alone is none. Signed, repetitions kept;
    the first `most` or a few more.
    """
    # Of the words up to each: their key, and what ends among them. Differences are those of spans.
    keys, ended = _keys_so_far(found.keys), list(accumulate(found.breaks))
    kinds = found.kinds
    capitals = [at for at, kind in enumerate(kinds) if kind & (CAPITAL | DIGIT)]
    results: list[int] = []
    for place, start in enumerate(capitals):
        kind, before, most_ended = kinds[start], keys[start], ended[start] + CLAUSE
        if kind & INNER:
            continue
        if len(results) >= most:
            break
        first = place + 1 if kind & (DIGIT | COMMON | SHORT) else place
        for at in capitals[first : place + LONGEST]:
            length = at - start + 1
            if length > LONGEST or ended[at] > most_ended:
                break
            key = (keys[at + 1] - before * _POWERS[length]) & _MASK
            results.append(key if key <= _HALF else key - _WHOLE)
    return results


def _keys_so_far(words_keys: list[int]) -> list[int]:
    """The keys of no word, of the first, of the first two, and so on."""
    key, keys = 0, [0]
    for word in words_keys:
        key = (key * _BASE + word) & _MASK
        keys.append(key)
    return keys


def month(word: str) -> int:
    """The number of the month that a word of kind MONTH names."""
    return _MONTHS.index(normalize(word)) + 1


class _Known(dict[str, tuple[int, int]]):
    """Cache by word: its key and kind."""

    def __missing__(self, word: str) -> tuple[int, int]:
        folded = normalize(word)
        digest = hashlib.blake2b(folded.encode(errors="surrogatepass"), digest_size=8).digest()
        info = int.from_bytes(digest, "little"), _kind(word, folded)
        if len(word) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[word] = info
        return info


class _Gaps(dict[str, int]):
    """Cache by gap between words: what it ends (NONE, CLAUSE or SENTENCE)."""

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
    lists = (
        (COMMON, COMMON_WORDS),
        (LINK, _LINKS),
        (ABBREVIATION, _ABBREVIATIONS),
        (OPENER, OPENERS),
        (MONTH, _MONTHS),
    )
    for bit, members in lists:
        kind |= bit if folded in members else 0
    return kind | (SHORT if len(folded) < 2 else 0)


def _gap(gap: str) -> int:
    if _ENDS_SENTENCE.search(gap):
        return SENTENCE
    bare = gap.strip()
    if bare == "-":
        return _HYPHEN if gap == "-" else NONE
    if bare.startswith("."):
        return _PERIOD
    if bare in _JOINS:
        return NONE
    return SENTENCE if "." in bare else CLAUSE
