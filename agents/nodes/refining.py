"""The refining node: candidate passages → quotes in the evidence pool."""

from __future__ import annotations

from hoptrail.agents.events import EvidenceAdded, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import evidence_of, role_input, role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import PassageToRead
from hoptrail.agents.types import Candidate, ReadPassage, StepRecord


async def refine(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → exact quotes in the evidence pool."""
    run.emit(StepStarted(node="refine", round=state.round))
    chosen = _unread(state)[: run.settings.read]
    seconds = run.read_seconds()
    generation = await run.corpus.generation(timeout=seconds)
    readings = await _readings(chosen, run)
    result = await run.roles.refiner.refine(await role_input(state, run), readings)
    found = {one.passage_id: one for one in chosen}
    fresh = (
        evidence_of(
            quote,
            run.texts[quote.passage_id],
            found[quote.passage_id],
            round_number=state.round,
            generation=generation,
        )
        for quote in result.value
        if quote.passage_id in found
    )
    rescored = pool.rescore(state.evidence, state.candidates)
    evidence = pool.merge_evidence(rescored, (item for item in fresh if item is not None))
    known = {item.id for item in state.evidence}
    added = [item for item in evidence if item.id not in known]
    for item in added:
        run.emit(EvidenceAdded(evidence=item))
    detail = f"read {len(readings)} passages, kept {len(added)} quotes"
    ids = tuple(item.id for item in added)
    return StateUpdate(
        evidence=evidence,
        read=_read(chosen, state),
        steps=(role_step("refine", "read", detail, result, ids),),
        stop=result.stop,
    )


async def read(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → passages for the answer, as they are."""
    run.emit(StepStarted(node="read", round=state.round))
    chosen = _unread(state)[: run.settings.read]
    readings = await _readings(chosen, run)
    ids = tuple(one.passage.id for one in readings)
    step = StepRecord(node="read", action="read", detail=f"read {len(ids)} passages", found=ids)
    return StateUpdate(read=_read(chosen, state), steps=(step,))


def _unread(state: RunState) -> list[Candidate]:
    """Candidates to read, best first; one read in vain comes back if another query found it."""
    fruitful = {one.passage_id for one in state.evidence}
    shown = [one for one in state.read if one.round >= state.shown_from]
    read = {(one.passage_id, one.query) for one in shown}
    seen = {one.passage_id for one in shown}
    return [
        one
        for one in state.candidates
        if one.passage_id not in seen
        or (one.passage_id not in fruitful and (one.passage_id, one.query) not in read)
    ]


def _read(chosen: list[Candidate], state: RunState) -> tuple[ReadPassage, ...]:
    return tuple(
        ReadPassage(passage_id=one.passage_id, query=one.query, round=state.round) for one in chosen
    )


async def _readings(chosen: list[Candidate], run: RunContext) -> list[PassageToRead]:
    """The candidates' passages as the store has them now; those that are gone are left out."""
    texts = await run.corpus.passages(
        [one.passage_id for one in chosen], timeout=run.read_seconds()
    )
    run.texts.update((one.id, one) for one in texts if one is not None)
    return [
        PassageToRead(passage=text, score=one.score, query=one.query, via=one.via)
        for one, text in zip(chosen, texts, strict=True)
        if text is not None
    ]
