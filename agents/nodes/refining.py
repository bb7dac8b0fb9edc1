"""The refining node: candidate passages → quotes in the evidence pool."""

from __future__ import annotations

from hoptrail.agents.events import EvidenceAdded, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import role_input, role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import PassageToRead, Quote
from hoptrail.agents.types import Evidence
from hoptrail.rag.types import Passage


async def refine(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → exact quotes in the evidence pool."""
    run.emit(StepStarted(node="refine", round=state.round))
    chosen = [c for c in state.candidates if c.passage_id not in state.read][: run.settings.read]
    seconds = run.read_seconds()
    generation = await run.corpus.generation(timeout=seconds)
    texts = await run.corpus.passages([c.passage_id for c in chosen], timeout=seconds)
    readings = [
        PassageToRead(
            passage=passage, score=candidate.score, query=candidate.query, via=candidate.via
        )
        for candidate, passage in zip(chosen, texts, strict=True)
        if passage is not None
    ]
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
        read=tuple(c.passage_id for c in chosen),
        steps=(role_step("refine", "read", detail, result, found),),
        stop=result.stop,
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
