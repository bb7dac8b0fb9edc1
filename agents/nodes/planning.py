"""The planning nodes: plan the question, assess the evidence, write the next queries."""

from __future__ import annotations

from hoptrail.agents.events import PlanMade, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import in_run_mode, role_input, role_step, whole_question
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.common import too_alike
from hoptrail.agents.types import Query, StopReason


async def plan(state: RunState, run: RunContext) -> StateUpdate:
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
    return StateUpdate(
        plan=result.value,
        queries=tuple(
            query
            for query in (whole_question(state, run), *named)[: run.settings.max_queries]
            if query.text not in state.asked
        ),
        steps=(role_step("plan", "listed what must be known", needs, result),),
        stop=result.stop,
    )


async def assess(state: RunState, run: RunContext) -> StateUpdate:
    """Evidence pool → enough, or what is missing; also ends searches that make no progress."""
    run.emit(StepStarted(node="assess", round=state.round))
    result = await run.roles.assessor.assess(await role_input(state, run))
    detail = "enough" if result.value.sufficient else "missing: " + "; ".join(result.value.missing)
    stop: StopReason | None = None
    if result.value.sufficient:
        stop = "sufficient"
    elif state.barren >= 2:
        stop = "no_progress"
    elif state.round >= run.settings.max_rounds:
        stop = "max_rounds"
    return StateUpdate(
        assessment=result.value,
        steps=(role_step("assess", "judged the evidence", detail, result),),
        stop=result.stop or stop,
    )


async def next_query(state: RunState, run: RunContext) -> StateUpdate:
    """Missing facts → queries not made before; the search ends when there are none."""
    run.emit(StepStarted(node="next_query", round=state.round))
    result = await run.roles.query_writer.next_queries(await role_input(state, run))
    asked = list(state.asked)
    queries: list[Query] = []
    for query in result.value:
        if len(queries) < run.settings.max_queries and not too_alike(query.text, asked):
            queries.append(in_run_mode(query, run))
            asked.append(query.text)
    detail = "; ".join(query.text for query in queries)
    return StateUpdate(
        queries=tuple(queries),
        steps=(role_step("next_query", "wrote queries", detail, result),),
        stop=result.stop or (None if queries else "no_progress"),
    )
