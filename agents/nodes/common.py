"""Helpers of several nodes: the input of a role, texts of passages, evidence, records of steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.roles.base import Quote, RoleInput, RoleResult
from hoptrail.agents.roles.reading.grounding import text_of
from hoptrail.agents.roles.searching.bindings import best_first
from hoptrail.agents.types import Candidate, Evidence, Plan, Query, StepRecord, evidence_id
from hoptrail.rag.types import Passage


async def role_input(state: RunState, run: RunContext) -> RoleInput:
    """The input of a role from a run's state, with the passages read so far."""
    return RoleInput(
        question=state.question,
        plan=state.plan if state.plan is not None else Plan(needs=(), asks="thing"),
        pool=state.evidence,
        asked=state.asked,
        assessment=state.assessment,
        bindings=best_first(state.bindings, state.evidence),
        passages=await shown_passages(state, run),
        notes=state.notes,
        claims_by=run.settings.claims_by,
        context=run.settings.context,
    )


async def shown_passages(state: RunState, run: RunContext) -> tuple[Passage, ...]:
    """The passages that models are shown, in order of arrival."""
    return await texts_of(
        (one.passage_id for one in state.read if one.round >= state.shown_from and not one.copy),
        run,
    )


async def texts_of(ids: Iterable[str], run: RunContext) -> tuple[Passage, ...]:
    """Passages by id, each once; without those that are gone, or cannot be read in time."""
    wanted = tuple(dict.fromkeys(ids))
    unknown = [one for one in wanted if one not in run.texts]
    if unknown:
        try:
            found = await run.corpus.passages(unknown, timeout=run.read_seconds())
        except TimeoutError:
            found = ()
        run.texts.update((one.id, one) for one in found if one is not None)
    return tuple(run.texts[one] for one in wanted if one in run.texts)


def evidence_of(
    quote: Quote, passage: Passage, candidate: Candidate, *, round_number: int, generation: int
) -> Evidence | None:
    """A quote as evidence; None where its offsets do not lie in the passage it names."""
    if not passage.start <= quote.start < quote.end <= passage.end:
        return None
    text = text_of(quote, passage)
    if not text.strip():
        return None
    return Evidence(
        id=evidence_id(passage.document_id, quote.start, quote.end),
        document_id=passage.document_id,
        passage_id=passage.id,
        title=passage.title,
        start=quote.start,
        end=quote.end,
        quote=text,
        confidence=quote.confidence,
        score=round(quote.confidence * candidate.score, 6),
        round=round_number,
        query=candidate.query,
        via=candidate.via,
        generation=generation,
    )


def evidence_from(
    quotes: Iterable[Quote],
    candidates: Iterable[Candidate],
    state: RunState,
    run: RunContext,
    *,
    generation: int,
) -> list[Evidence]:
    """Quotes as evidence of the present round; those of other passages than the candidates' go."""
    found = {one.passage_id: one for one in candidates}
    made = (
        evidence_of(
            quote,
            run.texts[quote.passage_id],
            found[quote.passage_id],
            round_number=state.round,
            generation=generation,
        )
        for quote in quotes
        if quote.passage_id in found and quote.passage_id in run.texts
    )
    return [item for item in made if item is not None]


async def has_tree(run: RunContext) -> bool:
    """Whether the store has a corpus tree; no, if it does not say so in time."""
    try:
        return await run.corpus.has_tree(timeout=run.read_seconds())
    except TimeoutError:
        return False


def whole_question(state: RunState, run: RunContext) -> Query:
    """The query of the question itself."""
    return in_run_mode(Query(text=state.question, purpose="question"), run)


def in_run_mode(query: Query, run: RunContext) -> Query:
    """The query in the run's search mode, unless it looks up a name."""
    if query.purpose in ("subject", "bridge") or run.settings.mode is None:
        return query
    return replace(query, mode=run.settings.mode)


def role_step(
    node: str,
    action: str,
    detail: str,
    result: RoleResult[object],
    found: tuple[str, ...] = (),
) -> StepRecord:
    """The record of a step in which a role was called."""
    return StepRecord(node=node, action=action, detail=detail, found=found, use=result.use)
