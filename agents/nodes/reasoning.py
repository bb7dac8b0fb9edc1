"""The nodes of reasoning loops: think, ask a follow-up question and answer it, track progress."""

from __future__ import annotations

from hoptrail.agents.events import StepStarted
from hoptrail.agents.nodes.common import in_run_mode, role_input, role_step, texts_of
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import ReasoningStyle
from hoptrail.agents.roles.common import GAP_WEIGHT, too_alike
from hoptrail.agents.types import Query, StepRecord, StopReason, Turn

IDLE = 2
"""Turns in a row without progress that end a monologue (IM-RAG's tracker, as a stop signal)."""


async def think(state: RunState, run: RunContext) -> StateUpdate:
    """Passages → one sentence of reasoning, which is the next query (IRCoT)."""
    return await _step("think", "thought", state, run)


async def follow_up(state: RunState, run: RunContext) -> StateUpdate:
    """Passages → the follow-up question that has to be answered first (self-ask)."""
    return await _step("follow_up", "follow_up", state, run)


async def ask_next(state: RunState, run: RunContext) -> StateUpdate:
    """Passages → a thought, and the query of the next turn (IM-RAG's questioner)."""
    return await _step("ask_next", "monologue", state, run)


async def answer_follow_up(state: RunState, run: RunContext) -> StateUpdate:
    """The passages of this round → the intermediate answer of the follow-up question."""
    run.emit(StepStarted(node="answer_follow_up", round=state.round))
    question = state.asked[-1] if state.asked else state.question
    passages = await texts_of(
        (one.passage_id for one in state.read if one.round == state.round and not one.copy), run
    )
    result = await run.roles.reader.read(question, passages)
    step = role_step("answer_follow_up", "answered", result.value.text[:200], result)
    note = Turn(question=question, answer=result.value.text or "Not stated.")
    return StateUpdate(notes=(note,), steps=(step,), stop=result.stop)


async def track(state: RunState, run: RunContext) -> StateUpdate:
    """Passages → how many facts are missing; ends a monologue that gets no further."""
    run.emit(StepStarted(node="track", round=state.round))
    result = await run.roles.assessor.assess(await role_input(state, run))
    missing = len(result.value.missing)
    counts = (*state.progress, missing)
    stop: StopReason | None = None
    if result.value.sufficient:
        stop = "sufficient"
    elif len(counts) > IDLE and min(counts[-IDLE:]) >= min(counts[:-IDLE]):
        stop = "no_progress"
    detail = f"{missing} missing: " + "; ".join(result.value.missing)
    return StateUpdate(
        assessment=result.value,
        progress=(missing,),
        steps=(role_step("track", "judged the progress", detail, result),),
        stop=result.stop or stop,
    )


async def _step(node: str, style: ReasoningStyle, state: RunState, run: RunContext) -> StateUpdate:
    """One step of reasoning: a query that was not made before, or the end of the loop."""
    if state.round >= run.settings.max_rounds:  # its query would not be searched
        return StateUpdate(stop="max_rounds")
    run.emit(StepStarted(node=node, round=state.round))
    result = await run.roles.reasoner.next_step(await role_input(state, run), style)
    text, stop = result.value.query, result.stop
    if not text:
        stop = stop or ("sufficient" if run.model else "no_progress")
    elif too_alike(text, state.asked):
        stop = stop or "no_progress"
    steps: tuple[StepRecord, ...] = (role_step(node, "reasoned", result.value.thought, result),)
    notes = (Turn(question="", answer=result.value.thought),) if style != "follow_up" else ()
    if stop is not None:
        return StateUpdate(notes=notes, steps=steps, stop=stop)
    query = in_run_mode(Query(text=text, purpose="gap", weight=GAP_WEIGHT), run)
    return StateUpdate(notes=notes, queries=(query,), steps=steps)
