"""The planning nodes: plan the question, assess the evidence, write the next queries."""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents.events import PlanMade, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import in_run_mode, noted, role_input, whole_question
from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.roles.common import too_alike
from hoptrail.agents.types import Query


async def plan(state: RunState, run: RunContext) -> RunState:
    """Question → the facts that must be known, and the first queries."""
    run.emit(StepStarted(node="plan", round=0))
    result = await run.roles.planner.plan(state.question)
    run.emit(PlanMade(plan=result.value))
    subjects = dict.fromkeys(need.subject for need in result.value.needs if need.subject)
    if run.settings.mode == "graph":  # which looks them up by itself
        subjects = {}
    named = (
        Query(text=s, purpose="subject", mode="lexical", weight=pool.SUBJECT) for s in subjects
    )
    needs = "; ".join(need.text for need in result.value.needs)
    planned = replace(
        state,
        plan=result.value,
        queries=(whole_question(state, run), *named)[: run.settings.max_queries],
    )
    return noted(planned, "plan", "listed what must be known", needs, result)


async def assess(state: RunState, run: RunContext) -> RunState:
    """Evidence pool → enough, or what is missing; also ends searches that make no progress."""
    run.emit(StepStarted(node="assess", round=state.round))
    result = await run.roles.assessor.assess(role_input(state))
    state = replace(state, assessment=result.value)
    detail = "enough" if result.value.sufficient else "missing: " + "; ".join(result.value.missing)
    state = noted(state, "assess", "judged the evidence", detail, result)
    if result.value.sufficient:
        return state.stopped("sufficient")
    if state.barren >= 2:
        return state.stopped("no_progress")
    return state.stopped("max_rounds") if state.round >= run.settings.max_rounds else state


async def next_query(state: RunState, run: RunContext) -> RunState:
    """Missing facts → queries not made before; the search ends when there are none."""
    run.emit(StepStarted(node="next_query", round=state.round))
    result = await run.roles.query_writer.next_queries(role_input(state))
    asked = list(state.asked)
    queries: list[Query] = []
    for query in result.value:
        if len(queries) < run.settings.max_queries and not too_alike(query.text, asked):
            queries.append(in_run_mode(query, run))
            asked.append(query.text)
    state = replace(state, queries=tuple(queries))
    detail = "; ".join(query.text for query in queries)
    state = noted(state, "next_query", "wrote queries", detail, result)
    return state if queries else state.stopped("no_progress")
