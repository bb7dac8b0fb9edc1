"""The nodes that end a run: answer, verify, receipt."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from hoptrail.agents.budget.limits import gather_or_cancel
from hoptrail.agents.events import ClaimVerified, StepStarted
from hoptrail.agents.nodes.common import noted, role_input
from hoptrail.agents.nodes.state import RunContext, RunState
from hoptrail.agents.roles.verifier import verify as verify_answer
from hoptrail.agents.runs.receipt import FINISHED, Receipt, outcome_of
from hoptrail.agents.types import Answer, Evidence, StepRecord, StopReason


async def answer(state: RunState, run: RunContext) -> RunState:
    """Evidence pool → claims with evidence ids; the only node whose model text reaches a user."""
    run.emit(StepStarted(node="answer", round=state.round))
    if not state.evidence:
        abstention = Answer(text="", claims=(), extractive=True, abstains=True)
        return replace(state, answer=abstention).step(
            StepRecord(node="answer", action="abstained", detail="no evidence")
        )
    result = await run.roles.answerer.answer(role_input(state), run.emit)
    state = replace(state, answer=result.value)
    action = "abstained" if result.value.abstains else "answered"
    cited = tuple(dict.fromkeys(e for claim in result.value.claims for e in claim.evidence))
    return noted(state, "answer", action, result.value.text[:200], result, cited)


async def verify(state: RunState, run: RunContext) -> RunState:
    """Checks each claim against its quotes; one that does not hold is dropped, with the reason."""
    run.emit(StepStarted(node="verify", round=state.round))
    if state.answer is None:  # the answer node was cut off
        return state
    verified = verify_answer(state.answer, state.evidence)
    for claim in verified.claims:
        run.emit(ClaimVerified(claim=claim))
    dropped = [claim for claim in verified.claims if claim.verdict == "dropped"]
    detail = f"{len(verified.claims) - len(dropped)} hold, {len(dropped)} dropped"
    record = StepRecord(node="verify", action="checked claims", detail=detail)
    return replace(state, answer=verified).step(record)


async def receipt(state: RunState, run: RunContext) -> RunState:
    """Checks every quote against its stored document once more, and writes the receipt."""
    run.emit(StepStarted(node="receipt", round=state.round))
    checks = await gather_or_cancel(_check(item, run) for item in state.evidence)
    pairs = list(zip(state.evidence, checks, strict=True))
    unchanged = tuple(item for item, found in pairs if found == "unchanged")
    changed = tuple(item.id for item, found in pairs if found == "changed")
    unchecked = tuple(item.id for item, found in pairs if found == "unchecked")
    answer = state.answer
    if len(unchanged) < len(pairs) and answer is not None:
        answer = verify_answer(answer, unchanged)
    stop: StopReason = state.stop if state.stop is not None else "sufficient"
    if unchecked and stop in FINISHED:
        stop = "out_of_time"
    claims = answer.claims if answer is not None else ()
    made = Receipt(
        question=state.question,
        strategy=run.strategy,
        model=run.model,
        answer=answer.text if answer is not None else "",
        extractive=answer is None or answer.extractive,
        outcome=outcome_of(answer, stop, len(unchanged), len(changed)),
        stop=stop,
        claims=tuple(claim for claim in claims if claim.verdict == "holds"),
        dropped=tuple(claim for claim in claims if claim.verdict == "dropped"),
        evidence=unchanged,
        source_changed=changed,
        unchecked=unchecked,
        candidates=state.candidates,
        plan=state.plan,
        steps=state.steps,
        rounds=state.round,
        fallbacks=sum(bool(step.use and step.use.failure) for step in state.steps),
        flags=(
            *(f"{flag.node}: {flag.reason}" for flag in run.ledger.flags),
            *run.notes,
            *_unchecked_flag(unchecked),
        ),
        budget=run.ledger.budget,
        usage=run.ledger.spent(),
        generation=state.generation,
    )
    return replace(state, stop=stop, answer=answer, receipt=made.json())


async def _check(item: Evidence, run: RunContext) -> Literal["unchanged", "changed", "unchecked"]:
    """Whether a quote still stands in its document."""
    try:
        text = await run.corpus.slice(
            item.document_id, item.start, item.end, timeout=run.read_seconds()
        )
    except TimeoutError:
        return "unchecked"
    return "unchanged" if text == item.quote else "changed"


def _unchecked_flag(unchecked: tuple[str, ...]) -> tuple[str, ...]:
    if not unchecked:
        return ()
    return (f"receipt: {len(unchecked)} quotes could not be checked in time and are not cited",)
