"""What the nodes share: the state as roles see it, and how a step is recorded."""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.roles.base import RoleInput, RoleResult
from hoptrail.agents.types import Plan, Query, StepRecord


def role_input(state: RunState) -> RoleInput:
    """The state as roles see it."""
    return RoleInput(
        question=state.question,
        plan=state.plan if state.plan is not None else Plan(needs=(), asks="thing"),
        pool=state.evidence,
        asked=state.asked,
        assessment=state.assessment,
    )


def whole_question(state: RunState, run: RunContext) -> Query:
    """The question itself as a query."""
    return in_run_mode(Query(text=state.question, purpose="question"), run)


def in_run_mode(query: Query, run: RunContext) -> Query:
    """A query in the run's mode, unless it looks up a name."""
    if query.purpose in ("subject", "bridge") or run.settings.mode is None:
        return query
    return replace(query, mode=run.settings.mode)


def noted(
    state: RunState,
    node: str,
    action: str,
    detail: str,
    played: RoleResult[object],
    found: tuple[str, ...] = (),
) -> RunState:
    """The state with the step a role played, and its stop if that ended the budget."""
    record = StepRecord(node=node, action=action, detail=detail, found=found, use=played.use)
    return state.step(record).stopped(played.stop)
