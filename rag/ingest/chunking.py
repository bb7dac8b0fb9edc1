"""Chunking: documents into passages of whole sentences, packed greedily under a token budget.

Unusual here: the token count of a growing passage is kept exactly without counting it again for
every sentence. Counts add up across a `seam` (a gap that the tokenizer's word rule never
bridges); where a gap has none, the passage so far is counted anew.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.text.sentences import Span, sentences, stripped
from hoptrail.rag.text.tokens import count_tokens, seam
from hoptrail.rag.types import Document, Passage, passage_id

MINIMUM_BUDGET = 8
"""Tokens. One character can take four, so that even a cut through a word makes progress."""

RECORD_SHARE = 0.75
"""Part of an embedder's window that a piece of a split record may fill, in cl100k_base tokens.
MiniLM's WordPiece makes 0.97 times as many of English encyclopaedia text on average, 1.2 times at
most (passages above 60 tokens, 9,000 seen), and more of other languages."""

_LINES = re.compile(r"[^\r\n]+")
_WORDS = re.compile(r"\S+")
_CLAUSES = re.compile(r"[^。！？；，、।]+[。！？；，、।]*|[。！？；，、।]+")
"""Pieces of a text without spaces, such as Chinese or Japanese."""

Splitter = Callable[[str, int, int, str], list[Span]]
"""Text, token budget, overlap and language to the spans of passages."""


def passage_spans(text: str, budget: int, overlap: int, language: str) -> list[Span]:
    """Returns the spans of a text's passages, as `chunk` makes them."""
    return list(_pack(text, sentences(text, language), budget, overlap))


def chunk(
    document: Document,
    *,
    budget: int = 180,
    overlap: int = 0,
    language: str = "english",
    split: Splitter = passage_spans,
) -> tuple[Passage, ...]:
    """Returns the passages of `document` in order; none if it is blank.

    Each is as many whole sentences as fit. A sentence above the budget is cut at line ends, else
    between words, else after punctuation of a script without spaces, else between characters.
    Every character that is not white space is in a passage, and in one only when `overlap` is 0.

    Args:
        document: what to split.
        budget: most cl100k_base tokens of a passage's text, at least 8.
        overlap: most tokens of whole sentences that a passage repeats from the end of the one
            before, `0 <= overlap < budget`. They are left out where the next one would not fit.
        language: whose sentence rules apply.
        split: makes the spans, perhaps in another process.

    Raises:
        SettingsError: budget, overlap or language is impossible.
    """
    check_chunking(budget, overlap)
    spans = split(document.text, budget, overlap, language)
    return tuple(_passage(document, start, end) for start, end in spans)


def chunk_record(
    document: Document,
    window: int,
    *,
    language: str = "english",
    split: Splitter = passage_spans,
) -> tuple[Passage, ...]:
    """Returns a record as one passage, or as several if the embedder would not read it whole.

    Title and text share the window. A longer record becomes passages of at most 3/4 of what the
    title leaves (a tokenizer makes its own number of tokens), and of at least 3/8 of the window.

    Args:
        document: a record of a corpus, its text a passage already.
        window: tokens that the embedder reads.
        language: whose sentence rules apply.
        split: as in `chunk`.

    Raises:
        SettingsError: the window is below 16 tokens or the language unknown.
    """
    if window < 2 * MINIMUM_BUDGET:
        raise SettingsError(
            f"The embedder reads only {window!r} tokens at once. Use one that reads at least "
            f"{2 * MINIMUM_BUDGET}."
        )
    left = window - count_tokens(document.title)
    text = document.text.strip()
    if not text:
        return ()
    if count_tokens(text) <= left:
        start = len(document.text) - len(document.text.lstrip())
        return (_passage(document, start, start + len(text)),)
    budget = max(MINIMUM_BUDGET, int(RECORD_SHARE * max(left, window / 2)))
    return chunk(document, budget=budget, language=language, split=split)


def check_chunking(budget: int, overlap: int) -> None:
    """Raises SettingsError unless `budget >= 8` and `0 <= overlap < budget`."""
    if budget < MINIMUM_BUDGET:
        raise SettingsError(
            f"A passage of {budget!r} tokens is too small. Set at least {MINIMUM_BUDGET}."
        )
    if not 0 <= overlap < budget:
        raise SettingsError(
            f"An overlap of {overlap!r} tokens does not fit passages of {budget!r}. Set it from "
            f"0 to {budget - 1}."
        )


def _passage(document: Document, start: int, end: int) -> Passage:
    return Passage(
        id=passage_id(document.id, start, end),
        document_id=document.id,
        start=start,
        end=end,
        title=document.title,
        text=document.text[start:end],
    )


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
        first = len(tail)
        while first and self._count(tail[first - 1][0], tail[-1][1]) <= overlap:
            first -= 1
        while first < len(tail) and self._count(tail[first][0], following[1]) > self._budget:
            first += 1
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
