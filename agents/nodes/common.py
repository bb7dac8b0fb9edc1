"""Helpers of several nodes: the input of a role from a state, the record of a step."""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.roles.base import RoleInput, RoleResult
from hoptrail.agents.types import Plan, Query, StepRecord


def role_input(state: RunState) -> RoleInput:
    """The input of a role from a run's state."""
    return RoleInput(
        question=state.question,
        plan=state.plan if state.plan is not None else Plan(needs=(), asks="thing"),
        pool=state.evidence,
        asked=state.asked,
        assessment=state.assessment,
    )


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
