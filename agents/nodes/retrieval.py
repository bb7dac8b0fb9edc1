"""The retrieval node: queries → candidate passages."""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents.budget.ledger import OutOfBudget, Reservation, Share
from hoptrail.agents.budget.limits import gather_or_cancel
from hoptrail.agents.events import HitsFound, QueryMade, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import whole_question
from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.agents.types import Query, StepRecord, StopReason
from hoptrail.rag.types import Ranking


async def retrieve(state: RunState, run: RunContext) -> RunState:
    """Queries → candidates; queries that the search budget does not allow are dropped."""
    number = state.round + 1
    run.emit(StepStarted(node="retrieve", round=number))
    queries = tuple(q for q in state.queries if q.text.strip()) or (whole_question(state, run),)
    # Divided and reserved before any search starts: if the budget is short, the last go without.
    reserved = [_reserve_search(run, share) for share in run.ledger.divide(len(queries))]
    results = await gather_or_cancel(
        _search(state, run, query, reservation)
        for query, reservation in zip(queries, reserved, strict=True)
    )
    found = [(q, r) for q, r in zip(queries, results, strict=True) if isinstance(r, Ranking)]
    state = replace(
        state,
        round=number,
        queries=(),
        asked=(*state.asked, *(query.text for query, _ in found)),
        candidates=pool.merge_rankings(state.candidates, found, number),
    )
    for query, ranking in found:
        ids = tuple(hit.passage.id for hit in ranking.hits)
        state = state.step(
            StepRecord(node="retrieve", action=query.purpose, detail=query.text, found=ids)
        )
    return state.stopped(next((r for r in results if isinstance(r, str)), None))


def _reserve_search(run: RunContext, share: Share) -> Reservation | StopReason:
    try:
        return run.ledger.reserve_search(node="retrieve", share=share)
    except OutOfBudget as error:
        return error.stop


async def _search(
    state: RunState, run: RunContext, query: Query, reservation: Reservation | StopReason
) -> Ranking | StopReason:
    """The ranking of a reserved search, or the reason why it was not made."""
    if not isinstance(reservation, Reservation):
        return reservation
    run.emit(QueryMade(query=query))
    try:
        ranking = await run.corpus.search(
            query.text,
            k=run.settings.k,
            mode=query.mode,
            where=dict(state.where),
            timeout=run.ledger.seconds_left(),
        )
    except TimeoutError:
        return "out_of_time"
    except Cancelled:
        return "cancelled"
    finally:
        run.ledger.settle_search(reservation)
    titles = tuple(hit.passage.title for hit in ranking.hits[:5])
    run.emit(HitsFound(query=query, count=len(ranking.hits), titles=titles))
    return ranking
