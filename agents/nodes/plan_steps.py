"""The nodes of a planned search: write the steps, search each in a branch, read what they found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from langgraph.types import Send

from hoptrail.agents.budget.branches import gather_or_cancel
from hoptrail.agents.budget.limits import Share, Usage, less
from hoptrail.agents.events import PlanMade, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import (
    evidence_from,
    has_tree,
    role_step,
    texts_of,
    whole_question,
)
from hoptrail.agents.nodes.refining import refine
from hoptrail.agents.nodes.retrieval import retrieve
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.nodes.tree_navigator import navigate
from hoptrail.agents.roles.base import RoleResult, ShortAnswer
from hoptrail.agents.roles.claim_rules.answer_check import is_yes_or_no
from hoptrail.agents.roles.common import GAP_WEIGHT
from hoptrail.agents.roles.searching.planner import asks_for
from hoptrail.agents.roles.searching.step_graph import (
    LONGEST_ANSWER,
    filled,
    in_order,
    numbered_from,
    problem_of,
    references,
)
from hoptrail.agents.roles.searching.step_planner import sources_of
from hoptrail.agents.roles.searching.step_planner import whole_question as one_step
from hoptrail.agents.types import (
    Candidate,
    Plan,
    Query,
    Rescored,
    Step,
    StepAnswer,
    StepRecord,
    StopReason,
    Turn,
)
from hoptrail.rag.entities.surface import casefolded, numbers, proper_names
from hoptrail.rag.types import Mode

MOST_PLANS = 2
"""A plan, and one more where a step of it came back empty."""
SHORT = 8
"""Words of an answer that takes the place of a reference as it is; of a longer one, its names."""
NAMES = 2
"""Most names of a longer answer that take its place."""
KEPT_TOKENS = 1 / 4
"""Part of the run's tokens that the readers of steps leave for the answer, 0..1."""


async def plan_steps(state: RunState, run: RunContext) -> StateUpdate:
    """Question → the steps to its answer; once more, with what was found, if one came to nothing.

    A plan that fails its checks is replaced by one step: the question as it stands.
    """
    run.emit(StepStarted(node="plan_steps", round=state.round))
    sources = sources_of(run.settings.mode, tree=await has_tree(run))
    result = await run.roles.step_planner.plan_steps(state.question, sources, state.notes)
    problem = problem_of(result.value, [source.name for source in sources])
    steps = one_step(state.question, sources) if problem else in_order(result.value)
    done = tuple(s for s in _steps(state) if s.id in _answers(state))
    begins = 1 + max((int(step.id[1:]) for step in _steps(state)), default=0)
    made = Plan(
        needs=(), asks=asks_for(state.question), steps=(*done, *numbered_from(steps, begins))
    )
    run.emit(PlanMade(plan=made))
    detail = "; ".join(f"{step.id} ({step.source}): {step.question}" for step in made.steps)
    action = "fell back on the question" if problem else "planned the steps"
    record = role_step("plan_steps", action, f"{problem}: {detail}" if problem else detail, result)
    return StateUpdate(plan=made, plans=state.plans + 1, steps=(record,), stop=result.stop)


def next_steps(state: RunState) -> list[Send] | str:
    """A conditional edge: a branch of `search_step` for each step that can be done; else onwards.

    Beside the first ones the question itself is searched, unless it is the plan. A step that needs
    an answer which was not found is left out.
    """
    if state.stop is not None:
        return "answer"
    if state.plans < MOST_PLANS and any(not answer.text for answer in state.answers):
        return "plan_steps"
    ids = [step.id for step in _ready(state)]
    if state.round == 0 and not _is_question(state):
        ids.insert(0, "")
    return [Send("search_step", replace(state, step=one)) for one in ids] or "answer"


async def search_step(state: RunState, run: RunContext) -> StateUpdate:
    """One step → the passages that its source has for its query."""
    step = next((one for one in _steps(state) if one.id == state.step), None)
    if step is not None and step.source == "none":
        return StateUpdate(round=state.round + 1)
    query = whole_question(state, run)
    if step is not None:
        text, mode = filled(step.text, _answers(state)), _mode(step, run)
        query = (
            replace(query, mode=mode)
            if text == state.question
            else Query(text=text, purpose="gap", mode=mode, weight=GAP_WEIGHT)
        )
    # Without the candidates of other steps, so that what comes back is this step's, in order.
    alone = replace(state, candidates=(), queries=(query,))
    found = await retrieve(alone, run)
    candidates = pool.merge_candidates((), found["candidates"])
    steps, stop = found["steps"], found["stop"]
    if step is not None and step.source == "tree" and stop is None:
        moved = await navigate(replace(alone, candidates=candidates, round=found["round"]), run)
        fused = moved.get("candidates", ())
        candidates = fused.candidates if isinstance(fused, Rescored) else candidates
        steps, stop = (*steps, *moved.get("steps", ())), moved.get("stop")
    ids = tuple(one.passage_id for one in candidates[: run.settings.k])
    record = StepRecord(node="search_step", action=state.step, detail=query.text, found=ids)
    return StateUpdate(
        round=found["round"],
        asked=found["asked"],
        candidates=candidates,
        steps=(*steps, record),
        stop=stop,
    )


async def read_steps(state: RunState, run: RunContext) -> StateUpdate:
    """The passages of the steps just searched → quotes, and the answers that later steps need."""
    run.emit(StepStarted(node="read_steps", round=state.round))
    steps = _ready(state)
    places = {step.id: _places(step, state, run) for step in steps}
    wanted = dict.fromkeys(one for ids in (*places.values(), _found("", state, run)) for one in ids)
    # All of them are read, so there is nothing to rank or to leave out.
    every = replace(run.settings, read=max(1, len(wanted)), rank_by="search", per_document=None)
    whole = replace(run, settings=every)
    update = StateUpdate(evidence=state.evidence, read=(), steps=(), stop=None)
    if not wanted.keys() <= {one.passage_id for one in state.read}:
        update = await refine(_only(state, wanted), whole)
    state = replace(state, evidence=update["evidence"])
    if update["stop"] is not None:
        return update
    read = [step for step in steps if _is_read(step, state)]
    results = await _read(read, places, state, run)
    done = [_done(step, results.get(step.id), bool(places[step.id]), state) for step in steps]
    records = tuple(one.record for one in done if one.record is not None)
    after = replace(state, answers=(*state.answers, *(one.answer for one in done)))
    stop: StopReason | None = next((r.stop for r in results.values() if r.stop is not None), None)
    if stop is None and state.round >= run.settings.max_rounds and next_steps(after) != "answer":
        stop = "max_rounds"
    quotes = [quote for result in results.values() for quote in result.value.quotes]
    fresh = evidence_from(quotes, state.candidates, state, run, generation=state.generation)
    return StateUpdate(
        evidence=pool.merge_evidence(state.evidence, fresh),
        read=update["read"],
        notes=tuple(one.note for one in done if one.note is not None),
        answers=tuple(one.answer for one in done),
        steps=(*update["steps"], *records),
        stop=stop,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    """What a step came to."""

    answer: StepAnswer
    note: Turn | None = None
    record: StepRecord | None = None


def _done(
    step: Step, result: RoleResult[ShortAnswer] | None, found: bool, state: RunState
) -> _Done:
    """What a step came to: for one that was not read, whether anything was found."""
    if result is None:
        return _Done(answer=StepAnswer(step=step.id, text="found" if found else ""))
    question = filled(step.question, _answers(state))
    text = _checked(step, result.value, question)
    # Of an answer in the documents' own words, the names that are new.
    short = text if len(text.split()) <= SHORT else _names(text, f"{question} {state.question}")
    return _Done(
        answer=StepAnswer(step=step.id, text=short),
        note=Turn(question=question, answer=short or "Not stated."),
        record=role_step("read_steps", f"answered {step.id}", short or "nothing", result),
    )


def _checked(step: Step, given: ShortAnswer, question: str) -> str:
    """An answer that stands in a passage, on one line; yes, no and comparisons stand in none."""
    text = " ".join(given.text.split())
    free = step.source == "none" or is_yes_or_no(text)
    return text if text and (given.quotes or free) and text != question else ""


def _names(text: str, question: str) -> str:
    """The first names in a text that a question does not have, or its numbers, or its beginning."""
    known = casefolded(question)
    names = [name for name in proper_names(text) if casefolded(name) not in known]
    found = " ".join(names[:NAMES] or numbers(text)[:NAMES]) or text
    return found[:LONGEST_ANSWER]


async def _read(
    steps: Sequence[Step], places: dict[str, tuple[str, ...]], state: RunState, run: RunContext
) -> dict[str, RoleResult[ShortAnswer]]:
    """The readers' answers of some steps, side by side."""
    if not steps:
        return {}
    answers = _answers(state)

    async def one(step: Step, share: Share) -> RoleResult[ShortAnswer]:
        passages = await texts_of(places[step.id], run)
        question = filled(step.question, answers)
        return await run.roles.reader.read(question, passages, share=share)

    # Divided beforehand: what fits the budget must not depend on which is answered first.
    keep = Usage(calls=1, prompt_tokens=math.ceil(run.ledger.budget.tokens * KEPT_TOKENS))
    shares = less(run.ledger.divide(len(steps)), keep)
    results = await gather_or_cancel(one(s, p) for s, p in zip(steps, shares, strict=True))
    return {step.id: result for step, result in zip(steps, results, strict=True)}


def _is_read(step: Step, state: RunState) -> bool:
    """Whether a step is asked of the reader: others refer to it, or it is the last of several."""
    steps = _steps(state)
    if len(steps) == 1:
        return False  # the answer is read from the same passages
    referred = {one for other in steps for one in references(other.question, other.query)}
    needed = {one for other in steps for one in other.depends_on}
    return step.id in referred or step.id not in needed


def _only(state: RunState, ids: dict[str, None]) -> RunState:
    """The state with the candidates of some passages, in their order."""
    known: dict[str, Candidate] = {one.passage_id: one for one in state.candidates}
    return replace(state, candidates=tuple(known[one] for one in ids if one in known))


def _places(step: Step, state: RunState, run: RunContext) -> tuple[str, ...]:
    """Ids of the passages that a step is answered from: its own, or those of what it compares."""
    if step.source != "none":
        return _found(step.id, state, run)
    return tuple(
        dict.fromkeys(one for needed in step.depends_on for one in _found(needed, state, run))
    )


def _found(step: str, state: RunState, run: RunContext) -> tuple[str, ...]:
    """Ids of the best passages that a step found."""
    records = [r for r in state.steps if r.node == "search_step" and r.action == step]
    return records[-1].found[: run.settings.read] if records else ()


def _mode(step: Step, run: RunContext) -> Mode:
    if step.source in ("hybrid", "lexical", "graph"):
        return step.source
    return run.settings.mode or "hybrid"


def _steps(state: RunState) -> tuple[Step, ...]:
    return state.plan.steps if state.plan is not None else ()


def _answers(state: RunState) -> dict[str, str]:
    return {answer.step: answer.text for answer in state.answers}


def _ready(state: RunState) -> tuple[Step, ...]:
    """The steps that can be done now: what they depend on has an answer."""
    answers = _answers(state)
    plan = state.plan or Plan(needs=(), asks="thing")
    return tuple(s for s in plan.ready(answers) if all(answers[one] for one in s.depends_on))


def _is_question(state: RunState) -> bool:
    """Whether the plan searches for the question as it stands."""
    return any(step.text == state.question for step in _steps(state))
