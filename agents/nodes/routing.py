"""The routing node: signals of the question and the first search → how far to search."""

from __future__ import annotations

from hoptrail.agents.events import StepStarted
from hoptrail.agents.nodes.common import has_tree, texts_of
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.searching.router import asks_no_document, route_of, signals_of
from hoptrail.agents.types import StepRecord

LOOKED_AT = 20
"""Passages of the first search whose texts are looked at."""


async def route(state: RunState, run: RunContext) -> StateUpdate:
    """Question, first search, or cheap answer → the route, with the reasons.

    Passed up to three times: before the first search, which a sum or small talk does not get;
    after it; and where an answer from it did not hold, for then the search goes on.
    """
    run.emit(StepStarted(node="route", round=state.round))
    if state.answer is not None:
        reason = "the answer from the first search does not hold"
        return StateUpdate(route="multi_hop", answer=None, steps=(_record("escalated", reason),))
    if state.round == 0:
        if not asks_no_document(state.question):
            return StateUpdate(tree=await has_tree(run))
        reason = "a sum or small talk: ask about what the documents say"
        step = _record("no_documents", reason)
        return StateUpdate(route="no_documents", steps=(step,), stop="unjudged")
    found = sorted(state.candidates, key=lambda one: -one.own)[:LOOKED_AT]
    scores = {one.passage_id: one.own for one in found}
    passages = await texts_of(scores, run)
    signals = signals_of(state.question, passages, [scores[one.id] for one in passages])
    chosen = route_of(signals)
    return StateUpdate(route=chosen, steps=(_record(chosen, signals.reasons),))


def _record(action: str, reason: str) -> StepRecord:
    return StepRecord(node="route", action=action, detail=reason)
