"""The nodes that end a run: answer, verify, receipt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from hoptrail.agents.budget.branches import gather_or_cancel
from hoptrail.agents.events import ClaimVerified, StepStarted
from hoptrail.agents.nodes.common import role_input, role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.verifier import verify as verify_answer
from hoptrail.agents.runs.receipt import FINISHED, Receipt, outcome_of
from hoptrail.agents.types import Answer, Evidence, StepRecord, StopReason


async def answer(state: RunState, run: RunContext) -> StateUpdate:
    """Evidence pool → claims with evidence ids; the only node whose model text reaches a user."""
    run.emit(StepStarted(node="answer", round=state.round))
    if not state.evidence:
        abstention = Answer(text="", claims=(), extractive=True, abstains=True)
        step = StepRecord(node="answer", action="abstained", detail="no evidence")
        return StateUpdate(answer=abstention, steps=(step,))
    result = await run.roles.answerer.answer(role_input(state), run.emit)
    action = "abstained" if result.value.abstains else "answered"
    cited = tuple(dict.fromkeys(e for claim in result.value.claims for e in claim.evidence))
    step = role_step("answer", action, result.value.text[:200], result, cited)
    return StateUpdate(answer=result.value, steps=(step,), stop=result.stop)


async def verify(state: RunState, run: RunContext) -> StateUpdate:
    """Checks each claim against its quotes; one that does not hold is dropped, with the reason."""
    run.emit(StepStarted(node="verify", round=state.round))
    if state.answer is None:  # the answer node was cut off
        return StateUpdate()
    result = await run.roles.verifier.verify(state.answer, state.evidence, state.question)
    verified = result.value
    for claim in verified.claims:
        run.emit(ClaimVerified(claim=claim))
    dropped = [claim for claim in verified.claims if claim.verdict == "dropped"]
    detail = f"{len(verified.claims) - len(dropped)} hold, {len(dropped)} dropped"
    step = role_step("verify", "checked claims", detail, result)
    return StateUpdate(answer=verified, steps=(step,), stop=result.stop)


async def receipt(state: RunState, run: RunContext) -> StateUpdate:
    """Checks every quote against its stored document once more, and writes the receipt."""
    run.emit(StepStarted(node="receipt", round=state.round))
    checks = await _checks(state.evidence, run)
    pairs = list(zip(state.evidence, checks, strict=True))
    unchanged = tuple(item for item, found in pairs if found == "unchanged")
    changed = tuple(item.id for item, found in pairs if found == "changed")
    unchecked = tuple(item.id for item, found in pairs if found == "unchecked")
    answer = state.answer
    if len(unchanged) < len(pairs) and answer is not None:
        answer = verify_answer(answer, unchanged, state.question)
    stop: StopReason = state.stop if state.stop is not None else "unjudged"
    if unchecked and stop in FINISHED:
        stop = "out_of_time"
    claims = answer.claims if answer is not None else ()
    made = Receipt(
        question=run.question,
        standalone="" if state.question == run.question else state.question,
        strategy=run.strategy,
        model=run.model,
        answer=answer.text if answer is not None else "",
        extractive=answer is None or answer.extractive,
        outcome=outcome_of(answer, stop, len(unchanged), len(changed)),
        stop=stop,
        claims=tuple(claim for claim in claims if claim.verdict == "holds"),
        computation=answer.computation if answer is not None else None,
        dropped=tuple(claim for claim in claims if claim.verdict == "dropped"),
        evidence=unchanged,
        source_changed=changed,
        unchecked=unchecked,
        candidates=state.candidates,
        plan=state.plan,
        steps=state.steps,
        rounds=state.round,
        fallbacks=sum(bool(step.use and step.use.failure) for step in state.steps),
        flags=_flags(state, run, len(unchecked)),
        budget=run.ledger.budget,
        usage=run.ledger.spent(),
        generation=state.generation,
    )
    return StateUpdate(stop=stop, answer=answer, receipt=made.json())


_Check = Literal["unchanged", "changed", "unchecked"]


async def _checks(evidence: Sequence[Evidence], run: RunContext) -> list[_Check]:
    """Whether each quote still stands in its document, and under its title."""
    texts = await gather_or_cancel(_text(one, run) for one in evidence)
    try:
        passages = await run.corpus.passages(
            [one.passage_id for one in evidence], timeout=run.read_seconds()
        )
    except TimeoutError:
        return ["unchecked"] * len(evidence)
    checks: list[_Check] = []
    for one, text, passage in zip(evidence, texts, passages, strict=True):
        kept = text == one.quote and (passage is None or passage.title == one.title)
        checks.append("unchecked" if text is _LATE else "unchanged" if kept else "changed")
    return checks


_LATE = object()
"""Stands for a text that could not be read in time."""


async def _text(item: Evidence, run: RunContext) -> object:
    """What its document has in the place of a quote."""
    try:
        return await run.corpus.slice(
            item.document_id, item.start, item.end, timeout=run.read_seconds()
        )
    except TimeoutError:
        return _LATE


def _flags(state: RunState, run: RunContext, unchecked: int) -> tuple[str, ...]:
    """What was odd about a run, for the receipt."""
    flags = [*run.flags, *map(str, run.ledger.flags)]
    if state.embedder_failure:
        flags.append(
            f"embedder: it failed, and the search went on by words alone ({state.embedder_failure})"
        )
    if unchecked:
        flags.append(f"receipt: {unchecked} quotes could not be checked in time and are not cited")
    return tuple(flags)
