"""The rewriting node: the question of a conversation → a question that stands alone."""

from __future__ import annotations

from hoptrail.agents.events import QuestionRewritten, StepStarted
from hoptrail.agents.nodes.common import role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate


async def rewrite(state: RunState, run: RunContext) -> StateUpdate:
    """Question and earlier turns → the question that all later nodes work on."""
    run.emit(StepStarted(node="rewrite", round=0))
    result = await run.roles.rewriter.rewrite(state.question, state.history)
    if result.value != state.question:
        run.emit(QuestionRewritten(question=result.value))
    step = role_step("rewrite", "made the question stand alone", result.value, result)
    return StateUpdate(question=result.value, steps=(step,), stop=result.stop)
