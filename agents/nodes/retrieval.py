"""The retrieval node: queries → candidate passages."""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents.budget.branches import gather_or_cancel
from hoptrail.agents.budget.ledger import OutOfBudget, Reservation, Share
from hoptrail.agents.events import HitsFound, QueryMade, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import whole_question
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.runs.interceptor import Cancelled
from hoptrail.agents.types import Query, StepRecord, StopReason
from hoptrail.rag.retrieval.fusion import fuse_hits
from hoptrail.rag.types import Ranking


async def retrieve(state: RunState, run: RunContext) -> StateUpdate:
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
    return StateUpdate(
        round=number,
        queries=(),
        asked=tuple(query.text for query, _ in found),
        candidates=pool.raised_by(state.candidates, _fused(found), number),
        steps=tuple(_step(query, ranking) for query, ranking in found),
        stop=next((one for one in results if isinstance(one, str)), None),
    )


def _fused(found: list[tuple[Query, Ranking]]) -> list[tuple[Query, Ranking]]:
    """The rankings with those of queries to be fused made one, under the first of the queries."""
    parts = [one for one in found if one[0].fused]
    if len(parts) < 2:
        return found
    query, first = parts[0]
    hits = fuse_hits([ranking.hits for _, ranking in parts])
    alone = [one for one in found if not one[0].fused]
    return [*alone, (query, replace(first, hits=hits))]


def _step(query: Query, ranking: Ranking) -> StepRecord:
    ids = tuple(hit.passage.id for hit in ranking.hits)
    return StepRecord(node="retrieve", action=query.purpose, detail=query.text, found=ids)


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
