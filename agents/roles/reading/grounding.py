"""Grounding: what a served role is shown, numbered, and the exact quotes behind what it says.

A model cites passages by number, for it copies poorly; the code finds the sentences of the passage
that state a claim, and the sentences that contain a short answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import Quote, RoleInput
from hoptrail.agents.roles.claim_rules.coverage import content_terms
from hoptrail.agents.roles.common import sentences_of
from hoptrail.agents.types import Claim, Evidence, evidence_id
from hoptrail.rag.entities.surface import surface_words
from hoptrail.rag.types import Passage

WINDOW = 3
"""Most sentences of a quote."""
MOST_GROUNDS = 2
"""Most quotes that are given for a short answer which no claim states."""
ENOUGH = 0.5
"""Least share of a claim's words, the title's counted, that its quote should have."""
_EXTRA = 0.15
"""Share of a claim's words that a further sentence must add to be quoted as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The passages, and the quotes, that a model is shown, with their numbers from 1."""

    items: tuple[Passage | Evidence, ...]

    @classmethod
    def of(cls, situation: RoleInput) -> Shown:
        """Passages in order of arrival, so that prompts of a run begin alike; then quotes."""
        passages = situation.passages if situation.context != "quotes" else ()
        pool = situation.pool if situation.context != "passages" or not passages else ()
        return cls(items=(*passages, *pool))

    def blocks(self) -> list[str]:
        """One numbered text an item: its title, then its words."""
        return numbered(self.items)

    def passages(self, seen: Sequence[int]) -> tuple[Passage, ...]:
        """The passages that the model was shown."""
        shown = (self.items[place] for place in seen)
        return tuple(one for one in shown if isinstance(one, Passage))

    def cited(self, numbers: Iterable[int], seen: Sequence[int]) -> tuple[Passage | Evidence, ...]:
        """What numbers stand for, each once; one that the model was not shown is dropped."""
        places = dict.fromkeys(number - 1 for number in numbers)
        return tuple(self.items[place] for place in places if place in seen)


def numbered(items: Sequence[Passage | Evidence]) -> list[str]:
    """One numbered text an item: its title, then its words."""
    return [
        f"[{number}] {' '.join(item.title.split())}: {_text(item).strip()}"
        for number, item in enumerate(items, start=1)
    ]


def wrapped(delimiters: Delimiters, blocks: Sequence[str]) -> str:
    """Numbered texts between one pair of delimiters."""
    return delimiters.wrap("passages", "\n\n".join(blocks))


def quotes_of(
    claim: str, cited: Sequence[Passage], shown: Sequence[Passage]
) -> list[tuple[Quote, Passage]]:
    """The sentences behind a claim, in the passages that it cites.

    A small model copies better than it counts: where none of them has half of the claim's words,
    the passage shown that has most of them is quoted instead, if that is half.
    """
    found = _best_runs(claim, cited)
    if not any(share >= ENOUGH for _, share, _ in found):
        others = _best_runs(claim, [one for one in shown if one not in cited])
        best = max(others, key=lambda one: one[1], default=None)
        if best is not None and best[1] >= ENOUGH:
            found = [best]
    return [(quote, passage) for quote, _, passage in found]


def quote_of(claim: str, passage: Passage) -> Quote | None:
    """The shortest run of sentences, at most `WINDOW`, that has most of a claim's words.

    The title's words count as said, since prose calls its subject "she". None where no sentence
    has any of the claim's words.
    """
    best = _best_run(claim, passage)
    return None if best is None else best[0]


def _best_runs(claim: str, passages: Sequence[Passage]) -> list[tuple[Quote, float, Passage]]:
    """The quote of a claim in each passage that has any of its words, and the share it has."""
    return [(*one, passage) for passage in passages if (one := _best_run(claim, passage))]


def _best_run(claim: str, passage: Passage) -> tuple[Quote, float] | None:
    """The quote of a claim, and the share of the claim's words that it has, 0..1."""
    wanted = _terms(claim)
    titled = _terms(passage.title)
    spans = sentences_of(passage.text)
    each = [_terms(passage.text[start:end]) for start, end in spans]
    best: tuple[float, float, int, int] | None = None
    for first in range(len(spans)):
        said = frozenset[str]()
        for last in range(first, min(first + WINDOW, len(spans))):
            said |= each[last]
            share = len(wanted & (said | titled)) / max(1, len(wanted))
            worth = share - _EXTRA * (last - first)
            if wanted & said and (best is None or worth > best[0] + 1e-9):
                best = (worth, share, spans[first][0], spans[last][1])
    return None if best is None else (_quote(passage, best[2], best[3]), best[1])


def grounds(answer: str, question: str, passages: Sequence[Passage]) -> tuple[Quote, ...]:
    """The sentences that contain a short answer, word for word, nearest to the question first.

    One that shares no word with the question, its title counted, is no ground.

    Args:
        answer: a name, a date, a number; yes and no are in no sentence.
        question: what was asked.
        passages: where to look; of equals the earlier one comes first.
    """
    words = surface_words(answer)
    if not words:
        return ()
    asked = content_terms(question)
    found: list[tuple[int, Quote]] = []
    for passage in passages:
        for start, end in sentences_of(passage.text):
            if near := _nearness(words, asked, passage.title, passage.text[start:end]):
                found.append((near, _quote(passage, start, end)))
    found.sort(key=lambda one: -one[0])
    return tuple(quote for _, quote in found[:MOST_GROUNDS])


def states(answer: str, question: str, item: Evidence) -> bool:
    """Whether a quote has a short answer word for word, and a word of the question."""
    words = surface_words(answer)
    return bool(words) and _nearness(words, content_terms(question), item.title, item.quote) > 0


def _nearness(words: list[str], asked: frozenset[str], title: str, text: str) -> int:
    """How many terms of a question a titled text has; 0 where it lacks the words in a row."""
    if not _has_run(words, surface_words(text)):
        return 0
    return len(asked & (content_terms(text) | content_terms(title)))


def _terms(text: str) -> frozenset[str]:
    """Content words of a text, and its numbers."""
    return content_terms(text).union(word for word in surface_words(text) if word.isdigit())


def _has_run(words: list[str], text: list[str]) -> bool:
    """Whether words stand in a text one after the other."""
    size = len(words)
    return any(text[place : place + size] == words for place in range(len(text) - size + 1))


def _quote(passage: Passage, start: int, end: int) -> Quote:
    return Quote(
        passage_id=passage.id,
        start=passage.start + start,
        end=passage.start + end,
        confidence=1.0,
    )


def verbatim(quote: Quote, passage: Passage) -> Claim:
    """A quote as a claim, in its own words."""
    cited = evidence_id(passage.document_id, quote.start, quote.end)
    return Claim(text=text_of(quote, passage), evidence=(cited,))


def text_of(quote: Quote, passage: Passage) -> str:
    """The words of a quote."""
    return passage.text[quote.start - passage.start : quote.end - passage.start]


def _text(item: Passage | Evidence) -> str:
    return item.text if isinstance(item, Passage) else item.quote
