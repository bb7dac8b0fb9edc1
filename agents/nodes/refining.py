"""The refining node: candidate passages → quotes in the evidence pool."""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents.events import EvidenceAdded, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import noted, role_input
from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.roles.base import PassageToRead, Quote
from hoptrail.agents.types import Evidence
from hoptrail.rag.types import Passage


async def refine(state: RunState, run: RunContext) -> RunState:
    """Unread candidates → exact quotes in the evidence pool."""
    run.emit(StepStarted(node="refine", round=state.round))
    chosen = [c for c in state.candidates if c.passage_id not in state.read][: run.settings.read]
    texts = await run.corpus.passages([c.passage_id for c in chosen], timeout=run.read_seconds())
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
        _evidence(quote, sources[quote.passage_id], state.round)
        for quote in result.value
        if quote.passage_id in sources
    )
    before = {item.id for item in state.evidence}
    rescored = pool.rescore(state.evidence, state.candidates)
    evidence = pool.add(rescored, (item for item in fresh if item is not None))
    added = [item for item in evidence if item.id not in before]
    for item in added:
        run.emit(EvidenceAdded(evidence=item))
    state = replace(
        state,
        evidence=evidence,
        read=(*state.read, *(c.passage_id for c in chosen)),
        barren=0 if added else state.barren + 1,
    )
    detail = f"read {len(readings)} passages, kept {len(added)} quotes"
    return noted(state, "refine", "read", detail, result, tuple(item.id for item in added))


def _evidence(quote: Quote, reading: PassageToRead, number: int) -> Evidence | None:
    """A quote as evidence; None where its offsets do not lie in the passage it names."""
    passage: Passage = reading.passage
    if not passage.start <= quote.start < quote.end <= passage.end:
        return None
    text = passage.text[quote.start - passage.start : quote.end - passage.start]
    if not text.strip():
        return None
    return Evidence(
        id="",
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
    )
