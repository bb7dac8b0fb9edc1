"""The roles played without a model: by names, words, shapes and the embedder.

It reads no meaning, so it says nothing in its own words: its answer is the best quotes as they
stand. What it does well is to follow names: a bridge between documents is, in most corpora, a name
that one document mentions and another is about.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hoptrail.agents import pool
from hoptrail.agents.corpus.protocol import Corpus
from hoptrail.agents.events import AnswerDelta
from hoptrail.agents.roles import DeltaListener, Played, Quote, Reading, Roles, Situation
from hoptrail.agents.roles.slates import LocalScorer
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.agents.types import Answer, Assessment, Claim, Evidence, Need, Plan, Query
from hoptrail.rag.entities.surface import fold, names, only_opens_sentences, words
from hoptrail.rag.text.sentences import sentences
from hoptrail.rag.types import Mode

SHOWN = 5
"""Quotes an answer shows."""
WINDOW = 3
"""Sentences a quote has at most; one alone too often lost the fact to a pronoun's neighbour."""
QUOTE_CHARS = 900
BEARS = 0.25
"""Cosine to the question below which a quote that shares no name with it bears on nothing."""

FOLLOWED = 4
"""Names that a round asks the rest of the question of."""
FOLLOWED_WORTH = 0.4
"""What the best hit of such a query is worth beside the passage that the name was read in."""

_ASKS = (
    ("date", r"\b(when|what (year|date|day|month)|which (year|date)|how old|date of)\b"),
    ("number", r"\bhow (many|much|far|long|tall|deep|heavy|often)\b|\bnumber of\b|\bpopulation\b"),
    ("choice", r"^which\b.*\bor\b|\b(older|younger|earlier|later|larger|first|elder)\b.*\bor\b"),
    ("yes_no", r"^(is|are|was|were|do|does|did|has|have|had|can|could)\b"),
    ("person", r"\b(who|whom|whose)\b"),
    ("place", r"\bwhere\b|\b(which|what) (country|city|town|village|state|county|place|cape)\b"),
)
_EMPTY = frozenset(
    """a an and are as at be been between both by did do does for from had has have her his how in
    is it its many much of on one or other out she that the their them they this to was were what
    when where which who whom whose why with""".split()  # noqa: SIM905 - readable so
)


def local_roles(
    corpus: Corpus, seconds_left: Callable[[], float], mode: Mode | None = None
) -> Roles:
    """All six roles, played without a model over a corpus, until the time is up.

    `mode`: how the question is searched; a search of the passage graph follows names by itself.
    """
    return Roles(
        planner=LocalPlanner(),
        refiner=LocalRefiner(corpus, seconds_left),
        assessor=LocalAssessor(),
        query_writer=GraphQueryWriter() if mode == "graph" else LocalQueryWriter(),
        answerer=LocalAnswerer(),
        scorer=LocalScorer(corpus),
    )


def asks_for(question: str) -> str:
    """The kind of answer a question asks for, by its words."""
    folded = fold(question)
    return next((kind for kind, pattern in _ASKS if re.search(pattern, folded)), "thing")


def content_words(text: str) -> set[str]:
    """The words of a text that carry content, cut to their first six letters."""
    return {word[:6] for word in words(text) if word not in _EMPTY}


class LocalPlanner:
    """What must be known: each thing the question names, and the kind of answer it asks for."""

    async def plan(self, question: str) -> Played[Plan]:
        """One need for every name, and one for what is asked."""
        asks = asks_for(question)
        subjects = names(question)
        needs = [
            Need(id=f"n{i}", text=f"what the documents say of {name}", subject=name)
            for i, name in enumerate(subjects, start=1)
        ]
        needs.append(Need(id=f"n{len(needs) + 1}", text=f"the {asks} asked for", subject=""))
        return Played(value=Plan(needs=tuple(needs), asks=asks))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    """A run of sentences in a passage; offsets count within the passage."""

    reading: Reading
    start: int
    end: int
    cosine: float
    """That of its nearest sentence to the question."""

    @property
    def text(self) -> str:
        """What it says, headed by the passage's title, since prose calls its subject "he"."""
        return f"{self.reading.passage.title}\n{self.reading.passage.text[self.start : self.end]}"


class LocalRefiner:
    """Picks from each passage the run of sentences nearest to the question.

    Nearness: cosine to the question, the share of its content words, its names, and digits where
    it asks for a date or a number. The extractive idea is RECOMP's (arXiv 2310.04408, 3.2), with
    the store's own embedder in the trained encoder's place. Sentences are embedded one by one
    rather than window by window: the same choice at a third of the tokens.
    """

    def __init__(self, corpus: Corpus, seconds_left: Callable[[], float]) -> None:
        self._corpus = corpus
        self._seconds_left = seconds_left

    async def refine(
        self, situation: Situation, readings: Sequence[Reading]
    ) -> Played[tuple[Quote, ...]]:
        """At most one quote a passage; none from one that bears on nothing."""
        spans = [sentences(reading.passage.text) for reading in readings]
        texts = [
            f"{reading.passage.title}\n{reading.passage.text[start:end]}"
            for reading, found in zip(readings, spans, strict=True)
            for start, end in found
        ]
        if not texts:
            return Played(value=())
        cosines = iter(await self._cosines(situation.question, texts))
        chosen = []
        for reading, found in zip(readings, spans, strict=True):
            windows = list(_windows(reading, found, [next(cosines, 0.0) for _ in found]))
            if windows:
                chosen.append(max(windows, key=lambda w: w.cosine + self._bonus(situation, w)))
        bearing = (w for w in chosen if w.cosine >= BEARS or self._linked(situation, w))
        return Played(value=tuple(_quote(window) for window in bearing))

    async def _cosines(self, question: str, texts: Sequence[str]) -> tuple[float, ...]:
        """The cosine of each text to the question; none once the run is over."""
        left = self._seconds_left()
        try:
            return await self._corpus.similarity(question, texts, timeout=left) if left > 0 else ()
        except (TimeoutError, Cancelled):
            return ()  # words alone then choose the quotes; the next search ends the run

    def _bonus(self, situation: Situation, window: _Window) -> float:
        asked = content_words(situation.question)
        said = set(words(window.text))
        overlap = len(asked & content_words(window.text)) / max(1, len(asked))
        named = sum(set(words(n)) <= said for n in _subjects(situation))
        digits = situation.plan.asks in ("date", "number") and re.search(r"\d", window.text)
        return 0.5 * overlap + 0.1 * min(2, named) + (0.2 if digits else 0.0)

    def _linked(self, situation: Situation, window: _Window) -> bool:
        """Does it share a name with the question, or speak of a name that was followed?"""
        said = set(words(window.text))
        via = window.reading.via
        linked = (*_subjects(situation), *situation.asked[1:], *((via.name,) if via else ()))
        return any(set(words(name)) <= said for name in linked)


class LocalAssessor:
    """Enough: every name and content word of the question stands in the evidence, after a hop.

    Words cannot tell that the passage which names the bridge is not yet the answer, so the names
    that the first round brought are followed once before anything counts as enough.
    """

    async def assess(self, situation: Situation) -> Played[Assessment]:
        """What the question names or asks and the pool does not show."""
        said = {word for item in situation.pool for word in words(f"{item.title} {item.quote}")}
        missing = [
            f"what the documents say of {name}"
            for name in _subjects(situation)
            if not set(words(name)) <= said
        ]
        stems = {word[:6] for word in said}
        lacking = sorted(content_words(situation.question) - stems)
        if lacking:
            missing.append("passages that speak of " + ", ".join(lacking))
        wants_digits = situation.plan.asks in ("date", "number")
        if wants_digits and not any(re.search(r"\d", item.quote) for item in situation.pool):
            missing.append(f"a {situation.plan.asks}")
        if len(situation.asked) <= 1 + len(_subjects(situation)):
            missing.append("where the names in the evidence lead")
        sufficient = bool(situation.pool) and not missing
        return Played(value=Assessment(sufficient=sufficient, missing=tuple(missing)))


class LocalQueryWriter:
    """Follows the names that the evidence mentions and the question does not."""

    async def next_queries(self, situation: Situation) -> Played[tuple[Query, ...]]:
        """One query a name, those of the best evidence first."""
        known = fold(situation.question)
        queries: dict[str, Query] = {}
        for item in situation.pool:
            for name in _mentioned(item):
                key = fold(name)
                if key in known or key in queries or pool.too_alike(name, situation.asked):
                    continue
                queries[key] = Query(
                    text=name,
                    purpose="bridge",
                    mode="lexical",
                    weight=round(pool.BRIDGE * item.score, 6),
                )
        return Played(value=tuple(queries.values()))


class GraphQueryWriter:
    """Asks the rest of the question of the names that the evidence mentions.

    For searches that follow names by themselves: what they cannot do is to put a name in the place
    of the words that stand for it ("the director of ..."), two documents further on. After
    Iter-RetGen's query of question and generation (arXiv 2305.15294), with a name as what was
    generated.
    """

    async def next_queries(self, situation: Situation) -> Played[tuple[Query, ...]]:
        """Up to `FOLLOWED` queries, for the names in the best evidence."""
        known = fold(situation.question)
        subjects = {word for name in _subjects(situation) for word in words(name)}
        rest = " ".join(
            word
            for word in dict.fromkeys(words(situation.question))
            if word not in _EMPTY and word not in subjects
        )
        queries: dict[str, Query] = {}
        for item in situation.pool:
            for name in _mentioned(item):
                text = f"{name} {rest}".strip()
                if fold(name) in known or pool.too_alike(text, (*situation.asked, *queries)):
                    continue
                queries[text] = Query(
                    text=text, purpose="gap", weight=round(FOLLOWED_WORTH * item.score, 6)
                )
                if len(queries) == FOLLOWED:
                    return Played(value=tuple(queries.values()))
        return Played(value=tuple(queries.values()))


class LocalAnswerer:
    """The best quotes as they stand; nothing where none of the question's names is in them."""

    async def answer(self, situation: Situation, on_delta: DeltaListener) -> Played[Answer]:
        """One claim a quote, word for word."""
        if not _bears(situation):
            return Played(value=Answer(text="", claims=(), extractive=True, abstains=True))
        shown = situation.pool[:SHOWN]
        claims = tuple(Claim(text=item.quote, evidence=(item.id,)) for item in shown)
        text = "\n".join(item.quote for item in shown)
        on_delta(AnswerDelta(text=text))
        return Played(value=Answer(text=text, claims=claims, extractive=True))


def _mentioned(item: Evidence) -> Iterator[str]:
    """The names a quote mentions beside its own title; a sentence's first word alone is none."""
    for name in names(item.quote):
        if fold(name) != fold(item.title) and not only_opens_sentences(name, item.quote):
            yield name


def _bears(situation: Situation) -> bool:
    """Is there evidence, and does it speak of anything that the question names?"""
    subjects = _subjects(situation)
    said = [set(words(f"{item.title} {item.quote}")) for item in situation.pool]
    if not subjects:
        return bool(said)
    return any(set(words(name)) <= spoken for name in subjects for spoken in said)


def _subjects(situation: Situation) -> tuple[str, ...]:
    """The names that the plan lists, or those of the question where nobody planned."""
    planned = (need.subject for need in situation.plan.needs if need.subject)
    return tuple(dict.fromkeys(planned)) if situation.plan.needs else names(situation.question)


def _windows(
    reading: Reading, spans: Sequence[tuple[int, int]], cosines: Sequence[float]
) -> Iterator[_Window]:
    """Every run of WINDOW sentences of a passage (the whole, if it has fewer)."""
    for first in range(max(1, len(spans) - WINDOW + 1)):
        run = spans[first : first + WINDOW]
        if run:
            yield _Window(
                reading=reading,
                start=run[0][0],
                end=min(run[-1][1], run[0][0] + QUOTE_CHARS),
                cosine=max(cosines[first : first + WINDOW]),
            )


def _quote(window: _Window) -> Quote:
    passage = window.reading.passage
    return Quote(
        passage_id=passage.id,
        start=passage.start + window.start,
        end=passage.start + window.end,
        confidence=1.0,
    )
