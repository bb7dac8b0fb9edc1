"""The planning nodes: plan the question, assess the evidence, write the next queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hoptrail.agents.events import PlanMade, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import (
    evidence_from,
    in_run_mode,
    role_input,
    role_step,
    whole_question,
)
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import RoleInput, RoleResult
from hoptrail.agents.roles.common import GAP_WEIGHT, too_alike
from hoptrail.agents.roles.reading.grounding import grounds, states
from hoptrail.agents.roles.searching.bindings import (
    facts,
    gap_queries,
    merge_bindings,
    open_triples,
    values_of,
)
from hoptrail.agents.types import Assessment, Binding, Evidence, Query, StopReason

BARREN = 2
"""Rounds in a row without new evidence or a new binding that end the search."""


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
    situation = await role_input(state, run)
    result = await run.roles.assessor.assess(situation)
    found, evidence = _bound(result.value.found, situation, state, run)
    after = replace(state, evidence=evidence, bindings=merge_bindings(state.bindings, found))
    judged = _judged(result.value, after, by_model=_by_model(result))
    detail = "enough" if judged.sufficient else "missing: " + "; ".join(judged.missing)
    stop: StopReason | None = None
    if judged.sufficient:
        stop = "sufficient"
    elif after.barren >= BARREN or not _read_anything(state):
        stop = "no_progress"
    elif state.round >= run.settings.max_rounds:
        stop = "max_rounds"
    support = tuple(dict.fromkeys(one for binding in found for one in binding.evidence))
    return StateUpdate(
        assessment=judged,
        evidence=evidence,
        bindings=found,
        steps=(role_step("assess", "judged the evidence", detail, result, support),),
        stop=result.stop or stop,
    )


def _by_model(result: RoleResult[Any]) -> bool:
    """Whether a model's reply was used, and no rules in its place."""
    return result.use is not None and not result.use.failure


def _judged(given: Assessment, state: RunState, *, by_model: bool) -> Assessment:
    """A judgement of the evidence, with what has no value yet.

    Rules read few values: without a model, what has none is no gap.
    """
    if not by_model:
        return given
    triples = state.plan.triples if state.plan is not None else ()
    gaps = open_triples(triples, state.bindings)
    unknown = facts(gaps, _best(values_of(state.bindings, state.evidence)))
    missing = tuple(dict.fromkeys((*filter(None, unknown), *given.missing)))
    return replace(given, sufficient=given.sufficient and not unknown, missing=missing)


def _bound(
    found: Sequence[tuple[str, str]], situation: RoleInput, state: RunState, run: RunContext
) -> tuple[tuple[Binding, ...], tuple[Evidence, ...]]:
    """The values that quotes state, each with its support, and the pool with their quotes.

    A value that stands in no quote is looked for in the passages read; one that stands nowhere
    beside a word of what was asked is dropped.
    """
    evidence, bindings = state.evidence, list[Binding]()
    values = values_of(state.bindings, state.evidence)
    for name, value in found:
        triples = (one for one in situation.plan.triples if one.object == name)
        asked = " ".join(facts(triples, _best(values)))
        ids = [item.id for item in evidence if states(value, asked, item)]
        if not ids:
            quotes = grounds(value, asked, situation.passages)
            fresh = evidence_from(quotes, state.candidates, state, run, generation=state.generation)
            evidence = pool.merge_evidence(evidence, fresh)
            ids = [pool.covering(item, evidence) for item in fresh]
        if ids:
            support = tuple(dict.fromkeys(ids))
            bindings.append(
                Binding(variable=name, value=value, evidence=support, round=state.round)
            )
            values.setdefault(name, []).append(value)
    return merge_bindings((), bindings), evidence


def _best(values: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {name: some[0] for name, some in values.items()}


def _read_anything(state: RunState) -> bool:
    """Whether the present round found a passage to read; the first one may have found none."""
    return state.round <= 1 or any(one.round == state.round for one in state.read)


async def next_query(state: RunState, run: RunContext) -> StateUpdate:
    """Missing facts → queries not made before; the search ends when there are none."""
    run.emit(StepStarted(node="next_query", round=state.round))
    result = await run.roles.query_writer.next_queries(await role_input(state, run))
    # By rules alone such queries cost recall (HotpotQA): they are made beside a model's.
    triples = state.plan.triples if state.plan is not None and _by_model(result) else ()
    gaps = (
        Query(text=text, purpose="gap", weight=GAP_WEIGHT)
        for text in gap_queries(triples, state.bindings, state.evidence)
    )
    asked = list(state.asked)
    queries: list[Query] = []
    for query in (*gaps, *result.value):
        if len(queries) < run.settings.max_queries and not too_alike(query.text, asked):
            queries.append(in_run_mode(query, run))
            asked.append(query.text)
    detail = "; ".join(query.text for query in queries)
    return StateUpdate(
        queries=tuple(queries),
        steps=(role_step("next_query", "wrote queries", detail, result),),
        stop=result.stop or (None if queries else "no_progress"),
    )
