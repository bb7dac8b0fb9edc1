"""The refining node: candidate passages → quotes in the evidence pool."""

from __future__ import annotations

from hoptrail.agents.events import EvidenceAdded, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import role_input, role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import PassageToRead, Quote
from hoptrail.agents.types import Candidate, Evidence
from hoptrail.rag.retrieval.duplicates import group_copies
from hoptrail.rag.types import Passage


async def refine(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → exact quotes in the evidence pool."""
    run.emit(StepStarted(node="refine", round=state.round))
    seconds = run.read_seconds()
    generation = await run.corpus.generation(timeout=seconds)
    chosen, readings = await _chosen(state, run, seconds)
    result = await run.roles.refiner.refine(role_input(state), readings)
    sources = {reading.passage.id: reading for reading in readings}
    fresh = (
        _evidence(quote, sources[quote.passage_id], state.round, generation)
        for quote in result.value
        if quote.passage_id in sources
    )
    rescored = pool.rescore(state.evidence, state.candidates)
    evidence = pool.merge_evidence(rescored, (item for item in fresh if item is not None))
    known = {item.id for item in state.evidence}
    added = [item for item in evidence if item.id not in known]
    for item in added:
        run.emit(EvidenceAdded(evidence=item))
    detail = f"read {len(readings)} passages, kept {len(added)} quotes"
    found = tuple(item.id for item in added)
    return StateUpdate(
        evidence=evidence,
        read=tuple(candidate.passage_id for candidate in chosen),
        steps=(role_step("refine", "read", detail, result, found),),
        stop=result.stop,
    )


async def _chosen(
    state: RunState, run: RunContext, seconds: float
) -> tuple[list[Candidate], list[PassageToRead]]:
    """The best unread candidates, and the texts to read: a copy of one leaves its place to another.

    A copy counts as read.
    """
    unread = [c for c in state.candidates if c.passage_id not in state.read]
    chosen, passages, readings = list[Candidate](), list[Passage](), list[PassageToRead]()
    by_id: dict[str, Candidate] = {}
    places = run.settings.read
    while places > 0 and unread:
        some, unread = unread[:places], unread[places:]
        chosen += some
        by_id.update((one.passage_id, one) for one in some)
        found = await run.corpus.passages([one.passage_id for one in some], timeout=seconds)
        passages += [one for one in found if one is not None]
        groups = group_copies(passages)
        readings = [_reading(by_id[passages[g.first].id], passages[g.shown]) for g in groups]
        gone = len(chosen) - len(passages)
        places = run.settings.read - len(readings) - gone
    return chosen, readings


def _reading(candidate: Candidate, passage: Passage) -> PassageToRead:
    return PassageToRead(
        passage=passage, score=candidate.score, query=candidate.query, via=candidate.via
    )


def _evidence(
    quote: Quote, reading: PassageToRead, number: int, generation: int
) -> Evidence | None:
    """A quote as evidence; None where its offsets do not lie in the passage it names."""
    passage: Passage = reading.passage
    if not passage.start <= quote.start < quote.end <= passage.end:
        return None
    text = passage.text[quote.start - passage.start : quote.end - passage.start]
    if not text.strip():
        return None
    return Evidence(
        id=pool.evidence_id(passage.document_id, quote.start, quote.end),
        document_id=passage.document_id,
        passage_id=passage.id,
        title=passage.title,
        start=quote.start,
        end=quote.end,
        quote=text,
        confidence=quote.confidence,
        score=round(quote.confidence * reading.score, 6),
        round=number,
        query=reading.query,
        via=reading.via,
        generation=generation,
    )
