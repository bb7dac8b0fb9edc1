"""The refining nodes: candidate passages → quotes in the evidence pool, or passages as they are."""

from __future__ import annotations

from collections.abc import Sequence

from hoptrail.agents.events import EvidenceAdded, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import evidence_from, role_input, role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import PassageToRead
from hoptrail.agents.types import Candidate, ReadPassage, StepRecord
from hoptrail.rag.retrieval.duplicates import group_copies
from hoptrail.rag.types import Passage


async def refine(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → exact quotes in the evidence pool."""
    run.emit(StepStarted(node="refine", round=state.round))
    generation = await run.corpus.generation(timeout=run.read_seconds())
    chosen, readings = await _chosen(state, run)
    result = await run.roles.refiner.refine(await role_input(state, run), readings)
    fresh = evidence_from(result.value, chosen, state, run, generation=generation)
    rescored = pool.rescore(state.evidence, state.candidates)
    evidence = pool.merge_evidence(rescored, fresh)
    known = {item.id for item in state.evidence}
    added = [item for item in evidence if item.id not in known]
    for item in added:
        run.emit(EvidenceAdded(evidence=item))
    detail = f"read {len(readings)} passages, kept {len(added)} quotes"
    ids = tuple(item.id for item in added)
    return StateUpdate(
        evidence=evidence,
        read=_read(chosen, readings, state),
        steps=(role_step("refine", "read", detail, result, ids),),
        stop=result.stop,
    )


async def read(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → passages for the answer, as they are."""
    run.emit(StepStarted(node="read", round=state.round))
    chosen, readings = await _chosen(state, run)
    ids = tuple(one.passage.id for one in readings)
    step = StepRecord(node="read", action="read", detail=f"read {len(ids)} passages", found=ids)
    return StateUpdate(read=_read(chosen, readings, state), steps=(step,))


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


async def _chosen(state: RunState, run: RunContext) -> tuple[list[Candidate], list[PassageToRead]]:
    """The best unread candidates, and the texts to read: a copy of one leaves its place to another.

    A copy counts as read.
    """
    unread = _unread(state)
    chosen, passages, readings = list[Candidate](), list[Passage](), list[PassageToRead]()
    by_id: dict[str, Candidate] = {}
    places, seconds = run.settings.read, run.read_seconds()
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
    run.texts.update((one.id, one) for one in passages)
    return chosen, readings


def _reading(candidate: Candidate, passage: Passage) -> PassageToRead:
    return PassageToRead(
        passage=passage, score=candidate.score, query=candidate.query, via=candidate.via
    )


def _read(
    chosen: Sequence[Candidate], readings: Sequence[PassageToRead], state: RunState
) -> tuple[ReadPassage, ...]:
    shown = {one.passage.id for one in readings}
    return tuple(
        ReadPassage(
            passage_id=one.passage_id,
            query=one.query,
            round=state.round,
            copy=one.passage_id not in shown,
        )
        for one in chosen
    )
