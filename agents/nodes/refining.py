"""The refining nodes: candidate passages → quotes in the evidence pool, or passages as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from hoptrail.agents.events import EvidenceAdded, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import evidence_from, role_input, role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import PassageToRead
from hoptrail.agents.types import Candidate, ReadPassage, StepRecord, StopReason
from hoptrail.rag.retrieval.duplicates import group_copies
from hoptrail.rag.types import Passage


async def refine(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → exact quotes in the evidence pool."""
    run.emit(StepStarted(node="refine", round=state.round))
    generation = await run.corpus.generation(timeout=run.read_seconds())
    chosen = await _chosen("refine", state, run)
    readings = chosen.readings
    result = await run.roles.refiner.refine(await role_input(state, run), readings)
    fresh = evidence_from(result.value, chosen.candidates, state, run, generation=generation)
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
        read=chosen.read(state.round),
        steps=(*chosen.steps, role_step("refine", "read", detail, result, ids)),
        stop=chosen.stop or result.stop,
    )


async def read(state: RunState, run: RunContext) -> StateUpdate:
    """Unread candidates → passages for the answer, as they are."""
    run.emit(StepStarted(node="read", round=state.round))
    chosen = await _chosen("read", state, run)
    ids = tuple(one.passage.id for one in chosen.readings)
    step = StepRecord(node="read", action="read", detail=f"read {len(ids)} passages", found=ids)
    return StateUpdate(read=chosen.read(state.round), steps=(*chosen.steps, step), stop=chosen.stop)


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


@dataclass(slots=True, kw_only=True)
class _Choice:
    """The passages chosen to be read, and what chose them."""

    candidates: list[Candidate] = field(default_factory=list)
    """Copies and passages that are gone among them: they count as read."""
    readings: list[PassageToRead] = field(default_factory=list)
    reasons: dict[str, ReadPassage] = field(default_factory=dict)
    """By id of the passage, of all that could have been chosen."""
    steps: tuple[StepRecord, ...] = ()
    stop: StopReason | None = None

    def read(self, round_number: int) -> tuple[ReadPassage, ...]:
        """What was chosen, as it is remembered."""
        shown = {one.passage.id for one in self.readings}
        return tuple(
            replace(
                self.reasons[one.passage_id],
                round=round_number,
                copy=one.passage_id not in shown,
            )
            for one in self.candidates
        )


async def _chosen(node: str, state: RunState, run: RunContext) -> _Choice:
    """The best unread candidates, and the texts to read: a copy of one leaves its place to another.

    A copy counts as read.
    """
    unread = _unread(state)
    choice = _Choice(reasons=_by_search(unread))
    if run.settings.rank_by != "search" and unread:
        unread = await _ranked(node, unread, choice, state, run)
    unread = list(_capped(unread, run.settings.per_document))
    passages, by_id = list[Passage](), dict[str, Candidate]()
    places, seconds = run.settings.read, run.read_seconds()
    while places > 0 and unread:
        some, unread = unread[:places], unread[places:]
        choice.candidates += some
        by_id.update((one.passage_id, one) for one in some)
        found = await run.corpus.passages([one.passage_id for one in some], timeout=seconds)
        passages += [one for one in found if one is not None]
        groups = group_copies(passages)
        choice.readings = [_reading(by_id[passages[g.first].id], passages[g.shown]) for g in groups]
        gone = len(choice.candidates) - len(passages)
        places = run.settings.read - len(choice.readings) - gone
    run.texts.update((one.id, one) for one in passages)
    return choice


async def _ranked(
    node: str, unread: list[Candidate], choice: _Choice, state: RunState, run: RunContext
) -> list[Candidate]:
    """The candidates with the first of them in the ranker's order, which is noted in the choice."""
    most = max(run.settings.ranked, run.settings.rank_window)
    first = {one.passage_id: one for one in unread[:most]}
    found = await run.corpus.passages(tuple(first), timeout=run.read_seconds())
    passages = [one for one in found if one is not None]
    run.texts.update((one.id, one) for one in passages)
    ranked = await run.roles.ranker.rank(state.question, passages)
    order = [passages[place].id for place in ranked.order]
    for number, place in enumerate(ranked.order[: ranked.ranked], 1):
        one = passages[place].id
        choice.reasons[one] = replace(
            choice.reasons[one],
            model_rank=number,
            votes=ranked.votes[place] if ranked.votes else None,
        )
    detail = f"ranked {ranked.ranked} of {len(unread)} passages by {run.settings.rank_by}"
    uses = ranked.uses or (None,)
    choice.steps = tuple(
        StepRecord(node=node, action="ranked", detail=detail, found=tuple(order), use=use)
        for use in uses
    )
    choice.stop = ranked.stop
    return [first.pop(one) for one in order] + list(first.values()) + unread[most:]


def _by_search(unread: Sequence[Candidate]) -> dict[str, ReadPassage]:
    """Why each candidate would be read: its place by score, and what had found it."""
    return {
        one.passage_id: ReadPassage(
            passage_id=one.passage_id,
            query=one.query,
            round=one.round,
            score=one.score,
            via=one.via,
            rank=rank,
        )
        for rank, one in enumerate(unread, 1)
    }


def _capped(candidates: Sequence[Candidate], most: int | None) -> Iterator[Candidate]:
    """The candidates, in order, without those of a document beyond its first `most`."""
    counts = Counter[str]()
    for one in candidates:
        counts[one.document_id] += 1
        if most is None or counts[one.document_id] <= most:
            yield one


def _reading(candidate: Candidate, passage: Passage) -> PassageToRead:
    return PassageToRead(
        passage=passage, score=candidate.score, query=candidate.query, via=candidate.via
    )
