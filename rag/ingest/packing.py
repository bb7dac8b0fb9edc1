"""Packing: a text into spans of whole sentences, packed greedily under a token budget.

Unusual here: the token count of a growing passage is kept exactly without counting it again for
every sentence. Counts add up across a `seam` (a gap that the tokenizer's word rule never
bridges); where a gap has none, counts of parts are taken as a bound, and the passage so far is
counted anew only when the bound is above the budget.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator

from hoptrail.rag.text.sentences import Span, sentences, stripped
from hoptrail.rag.text.tokens import count_tokens, seam

MINIMUM_BUDGET = 8
"""Tokens. One character can take four, so that even a cut through a word makes progress."""

_LINES = re.compile(r"[^\r\n]+")
_WORDS = re.compile(r"\S+")
_CLAUSES = re.compile(r"[^。！？；，、।]+[。！？；，、।]*|[。！？；，、।]+")
"""Pieces of a text without spaces, such as Chinese or Japanese."""


def passage_spans(text: str, budget: int, overlap: int, language: str) -> list[Span]:
    """Returns the spans of a text's passages.

    Args:
        text: what to split.
        budget: most tokens of a passage, at least `MINIMUM_BUDGET`.
        overlap: most tokens that a passage repeats, below the budget.
        language: whose sentence rules apply.

    Raises:
        SettingsError: there are no sentence rules for the language.
    """
    return list(_pack(text, sentences(text, language), budget, overlap))


def _pack(text: str, spans: list[Span], budget: int, overlap: int) -> Iterator[Span]:
    """Yields passages' spans; units that do not fit even alone are replaced by their parts."""
    units, packer = deque(spans), _Packer(text, budget)
    while units or packer.units:
        if units and packer.take(units[0]):
            units.popleft()
        elif packer.units:
            units.extendleft(packer.given_up())
            yield packer.span
            if not units:
                return
            packer.restart(overlap, units[0])
        else:
            units.extendleft(reversed(_parts(text, *units.popleft(), budget)))


class _Packer:
    """A passage that grows: `_tokens` up to `_base`, where counts add up, `_tail` behind it.

    Where no seam stands between units, the tail is not counted anew for each: its count is taken
    as no more than the sum of its parts' counts, and made exact when that sum is above the budget.
    """

    def __init__(self, text: str, budget: int) -> None:
        self.units: list[Span] = []
        self._text, self._budget = text, budget
        self._base = self._tokens = self._tail = 0
        self._exact = True

    @property
    def span(self) -> Span:
        return self.units[0][0], self.units[-1][1]

    def take(self, unit: Span) -> bool:
        """Appends the unit if the passage stays within the budget; says whether it did."""
        if not self.units:
            base, tokens = unit[0], 0
        elif (at := seam(self._text, self.units[-1][1], unit[0])) is not None:
            base, tokens = at, self._tokens + self._until(at)
        else:
            return self._lengthen(unit)
        return self._append(unit, base, tokens, self._count(base, unit[1]), exact=True)

    def given_up(self) -> list[Span]:
        """Takes the last units out until the exact count is within the budget; returns them."""
        out: list[Span] = []
        while not self._exact:
            self._tail = self._count(self._base, self.span[1])
            self._exact = self._tokens + self._tail <= self._budget
            if not self._exact:
                out.append(self.units.pop())
        return out

    def restart(self, overlap: int, following: Span) -> None:
        """Begins the next passage with the last units that `overlap` and `following` allow."""
        tail, self.units = self.units[1:] if overlap else [], []
        places, end = range(len(tail)), tail[-1][1] if tail else 0
        first = bisect_left(places, True, key=lambda at: self._count(tail[at][0], end) <= overlap)
        first = bisect_left(
            places,
            True,
            lo=first,
            key=lambda at: self._count(tail[at][0], following[1]) <= self._budget,
        )
        for unit in tail[first:]:
            self.take(unit)

    def _lengthen(self, unit: Span) -> bool:
        most = self._tail + self._count(self.units[-1][1], unit[1])
        exact = self._tokens + most > self._budget
        if exact:
            most = self._count(self._base, unit[1])
        return self._append(unit, self._base, self._tokens, most, exact=exact)

    def _append(self, unit: Span, base: int, tokens: int, tail: int, *, exact: bool) -> bool:
        if tokens + tail > self._budget:
            return False
        self.units.append(unit)
        self._base, self._tokens, self._tail, self._exact = base, tokens, tail, exact
        return True

    def _until(self, at: int) -> int:
        """The tokens from the last seam to the one at `at`."""
        if self._exact and at == self.units[-1][1]:
            return self._tail
        return self._count(self._base, at)

    def _count(self, start: int, end: int) -> int:
        return count_tokens(self._text[start:end])


def _parts(text: str, start: int, end: int, budget: int) -> list[Span]:
    """Cuts a unit that is too long at the coarsest joint it has; makes at least two parts."""
    for joint in (_LINES, _WORDS, _CLAUSES):
        found = (stripped(text, *match.span()) for match in joint.finditer(text, start, end))
        parts = [span for span in found if span]
        if len(parts) > 1:
            return parts
    step = budget // 4  # a character takes four tokens at most, one a byte of UTF-8
    return [(at, min(at + step, end)) for at in range(start, end, step)]
