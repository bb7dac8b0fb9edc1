"""The refiner: passages → exact quotes that bear on the question."""

from __future__ import annotations

import itertools
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, TypeVar

from pydantic import Field

from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import PassageToRead, Quote, RoleInput, RoleResult, Roles
from hoptrail.agents.roles.common import (
    Reply,
    content_words,
    needs_text,
    sentences_of,
    subjects_of,
)
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.roles.reading.grounding import wrapped
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.prompts.loader import load
from hoptrail.rag.entities.surface import surface_words
from hoptrail.rag.types import Passage, ScoredSentence, sentence_text

T = TypeVar("T")

WINDOW = 3
"""Sentences a quote has at most; one alone too often lost the fact to a pronoun's neighbour."""
QUOTE_CHARS = 900
"""Most characters of a quote."""
BEARS = 0.25
"""Least cosine to the question, -1..1, of a quote that shares no name with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A window of sentences in a passage; offsets count within the passage."""

    reading: PassageToRead
    start: int
    end: int
    cosine: float
    """The cosine of its nearest sentence to the question, -1..1."""

    @property
    def text(self) -> str:
        """The window's text under the passage's title, since prose calls its subject "he"."""
        return f"{self.reading.passage.title}\n{self.reading.passage.text[self.start : self.end]}"


class LocalRefiner:
    """Extractive refining: from each passage the window of sentences nearest to the question.

    Nearness: cosine to the question, the share of its content words, its names, and digits where
    it asks for a date or a number. The extractive idea is RECOMP's (arXiv 2310.04408, 3.2), with
    the store's own embedder in the trained encoder's place. Sentences are embedded one by one
    rather than window by window: the same choice at a third of the tokens.
    """

    def __init__(self, corpus: Corpus, seconds_left: Callable[[], float]) -> None:
        self._corpus = corpus
        self._seconds_left = seconds_left

    async def refine(
        self, situation: RoleInput, readings: Sequence[PassageToRead]
    ) -> RoleResult[tuple[Quote, ...]]:
        """At most one quote a passage; none from a passage that does not bear on the question."""
        scored = await self._scored(situation.question, [one.passage for one in readings])
        asked = content_words(situation.question)
        names = [set(surface_words(name)) for name in subjects_of(situation)]
        digits = situation.plan.asks in ("date", "number")
        chosen = []
        for reading, found in zip(readings, scored, strict=True):
            windows = list(_windows(reading, found))
            if windows:
                chosen.append(
                    max(windows, key=lambda w: w.cosine + _bonus(w, asked, names, digits))
                )
        bearing = (w for w in chosen if w.cosine >= BEARS or self._linked(situation, w))
        return RoleResult(value=tuple(_quote(window) for window in bearing))

    async def _scored(
        self, question: str, passages: Sequence[Passage]
    ) -> list[Sequence[ScoredSentence]]:
        """The sentences of each passage; what the store has no vectors of is embedded at once."""
        ask = self._corpus.sentences
        stored = await self._in_time(partial(ask, question, [one.id for one in passages]))
        # A passage may have been replaced since it was read: then its sentences are others.
        known = {
            passage.id: found
            for passage, found in zip(passages, stored, strict=False)
            if found is not None and all(one.end <= len(passage.text) for one in found)
        }
        fresh = {p.id: sentences_of(p.text) for p in passages if p.id not in known}
        texts = [
            sentence_text(passage, start, end)
            for passage in passages
            for start, end in fresh.get(passage.id, ())
        ]
        cosines: Iterator[float] = iter(
            await self._in_time(partial(self._corpus.similarity, question, texts)) if texts else ()
        )
        return [
            known.get(passage.id)
            or [
                ScoredSentence(start=start, end=end, cosine=next(cosines, 0.0))
                for start, end in fresh.get(passage.id, ())
            ]
            for passage in passages
        ]

    async def _in_time(self, ask: Callable[..., Awaitable[tuple[T, ...]]]) -> tuple[T, ...]:
        """What the embedder says; nothing once the run's time is over."""
        left = self._seconds_left()
        try:
            return await ask(timeout=left) if left > 0 else ()
        except (TimeoutError, Cancelled):
            return ()  # words alone then choose the quotes; the next search ends the run

    def _linked(self, situation: RoleInput, window: _Window) -> bool:
        """Whether a window mentions a name of the question, or one that was followed."""
        said = set(surface_words(window.text))
        via = window.reading.via
        linked = (*subjects_of(situation), *situation.asked[1:], *((via.name,) if via else ()))
        return any(set(surface_words(name)) <= said for name in linked)


def _bonus(window: _Window, asked: set[str], names: Iterable[set[str]], digits: bool) -> float:
    """What a window's words add to its cosine: those of the question, its names, digits sought."""
    text = window.text
    said = set(surface_words(text))
    overlap = len(asked & content_words(text)) / max(1, len(asked))
    named = sum(name <= said for name in names)
    has_digits = digits and re.search(r"\d", text)
    return 0.5 * overlap + 0.1 * min(2, named) + (0.2 if has_digits else 0.0)


def _windows(reading: PassageToRead, scored: Sequence[ScoredSentence]) -> Iterator[_Window]:
    """Every window of WINDOW sentences of a passage (the whole passage, if it has fewer)."""
    for first in range(max(1, len(scored) - WINDOW + 1)):
        run = scored[first : first + WINDOW]
        if run:
            yield _Window(
                reading=reading,
                start=run[0].start,
                end=min(run[-1].end, run[0].start + QUOTE_CHARS),
                cosine=max(one.cosine for one in run),
            )


def _quote(window: _Window) -> Quote:
    passage = window.reading.passage
    return Quote(
        passage_id=passage.id,
        start=passage.start + window.start,
        end=passage.start + window.end,
        confidence=1.0,
    )


class ServedRefiner:
    """Refining by a model, which picks sentences by their numbers, by prompt `ask/refine`."""

    def __init__(self, client: LLMClient, delimiters: Delimiters, fallback: Roles) -> None:
        self._client = client
        self._delimiters = delimiters
        self._fallback = fallback

    async def refine(
        self, situation: RoleInput, readings: Sequence[PassageToRead]
    ) -> RoleResult[tuple[Quote, ...]]:
        """One quote for each sentence chosen; where none is, those that the words choose."""
        if not readings:
            return RoleResult(value=())
        numbered = [
            (place, start, end)
            for place, reading in enumerate(readings)
            for start, end in sentences_of(reading.passage.text)
        ]
        call = RoleCall(
            role="refine",
            prompt="ask/refine",
            form=RefineForm,
            max_tokens=96,
            render=lambda blocks: load("ask/refine").render(
                passages=wrapped(self._delimiters, blocks),
                needs=needs_text(self._delimiters, situation),
                question=situation.question,
            ),
            blocks=_numbered_sentences(readings),
        )

        def use(form: RefineForm, seen: Sequence[int]) -> tuple[Quote, ...]:
            named = dict.fromkeys(n for n in form.sentences if n <= len(numbered))
            chosen = [numbered[n - 1] for n in named if numbered[n - 1][0] in seen]
            return tuple(
                _sentence_quote(readings[place], start, end, rank)
                for rank, (place, start, end) in enumerate(chosen)
            )

        def by_words() -> Awaitable[RoleResult[tuple[Quote, ...]]]:
            return self._fallback.refiner.refine(situation, readings)

        result = await ask_or_fall_back(self._client, call, use, by_words)
        # A poor model's "none of these helps" must not lose what was found.
        return result if result.value else replace(result, value=(await by_words()).value)


def _sentence_quote(reading: PassageToRead, start: int, end: int, rank: int) -> Quote:
    passage = reading.passage
    return Quote(
        passage_id=passage.id,
        start=passage.start + start,
        end=passage.start + end,
        confidence=round(1.0 - 0.05 * rank, 2),
    )


def _numbered_sentences(readings: Sequence[PassageToRead]) -> list[str]:
    """One block a passage: its title, and its sentences numbered through all passages."""
    numbers = itertools.count(1)
    blocks = []
    for reading in readings:
        text = reading.passage.text
        lines = (f"[{next(numbers)}] {text[start:end]}" for start, end in sentences_of(text))
        blocks.append("\n".join([f"Title: {' '.join(reading.passage.title.split())}", *lines]))
    return blocks


class RefineForm(Reply):
    """The refiner's reply: numbers of sentences."""

    sentences: Annotated[list[Annotated[int, Field(ge=1, le=400)]], Field(max_length=8)]
