"""The node of generation-augmented retrieval: a draft answer → the query of the next round."""

from __future__ import annotations

from dataclasses import replace

from hoptrail.agents.events import StepStarted
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.common import folded_answer
from hoptrail.agents.types import Answer, Query, Rescored, StepRecord, Turn

LONGEST_DRAFT = 600
"""Most characters of a draft in a query; its start is dropped, for the end has the answer."""


async def feed_back(state: RunState, run: RunContext) -> StateUpdate:
    """Draft answer → the query "draft, question", for which passages are ranked afresh.

    Ends the search after `RunSettings.iterations` rounds, when a round repeats the answer or the
    passages of the one before, or when there is no draft.
    """
    run.emit(StepStarted(node="feed_back", round=state.round))
    assert state.answer is not None, "feed_back() follows answer()"
    draft, short = _draft(state.answer), folded_answer(state.answer.text)
    note = Turn(question=state.question, answer=short)
    if state.round >= run.settings.iterations:
        return StateUpdate(notes=(note,), stop="unjudged")
    same_answer = bool(state.notes) and state.notes[-1].answer == short
    if same_answer or (state.round > 1 and _read_in(state, 0) == _read_in(state, 1)):
        step = StepRecord(node="feed_back", action="ended", detail="the round repeated the last")
        return StateUpdate(notes=(note,), steps=(step,), stop="no_progress")
    if not draft.strip():
        step = StepRecord(node="feed_back", action="ended", detail="there is no draft to search by")
        return StateUpdate(notes=(note,), steps=(step,), stop="no_progress")
    text = f"{draft[-LONGEST_DRAFT:]} {state.question}"
    query = Query(text=text, purpose="question", mode=run.settings.mode or "hybrid")
    return StateUpdate(
        notes=(note,),
        queries=(query,),
        # Only what this query finds is read: the paper's D_t, never the union of all rounds.
        candidates=Rescored(
            candidates=tuple(replace(one, score=0.0, own=0.0) for one in state.candidates)
        ),
        shown_from=state.round + 1,
        steps=(StepRecord(node="feed_back", action="wrote a query", detail=text),),
    )


def _draft(answer: Answer) -> str:
    """The whole of what was generated: claims, which name the entities on the way, and answer."""
    said = [claim.text for claim in answer.claims]
    return " ".join(dict.fromkeys([*said, answer.text])) if not answer.extractive else answer.text


def _read_in(state: RunState, back: int) -> set[str]:
    """Ids of the passages read so many rounds ago."""
    return {one.passage_id for one in state.read if one.round == state.round - back}
