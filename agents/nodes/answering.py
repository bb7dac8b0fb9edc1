"""The nodes that end a run: answer, verify, receipt."""

from __future__ import annotations

from collections.abc import Sequence

from hoptrail.agents.events import ClaimVerified, StepStarted
from hoptrail.agents.nodes.common import role_input, role_step
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.verifier import verify as verify_answer
from hoptrail.agents.runs.branches import gather_or_cancel
from hoptrail.agents.runs.receipt import Receipt, outcome_of
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
    assert state.answer is not None, "verify follows answer"
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
    unchanged, changed = await _checked(state.evidence, run)
    answer = state.answer
    if changed and answer is not None:
        answer = verify_answer(answer, unchanged, state.question)
    stop: StopReason = state.stop if state.stop is not None else "unjudged"
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
        candidates=state.candidates,
        plan=state.plan,
        steps=state.steps,
        rounds=state.round,
        fallbacks=sum(bool(step.use and step.use.failure) for step in state.steps),
        flags=run.flags + tuple(str(flag) for flag in run.ledger.flags),
        budget=run.ledger.budget,
        usage=run.ledger.spent(),
        generation=state.generation,
    )
    return StateUpdate(stop=stop, answer=answer, receipt=made.json())


async def _checked(
    evidence: Sequence[Evidence], run: RunContext
) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    """The evidence that its documents still have, quote and title, and the ids of the rest."""
    slices = await gather_or_cancel(
        run.corpus.slice(one.document_id, one.start, one.end) for one in evidence
    )
    passages = await run.corpus.passages([one.passage_id for one in evidence])
    kept, changed = [], []
    for one, text, passage in zip(evidence, slices, passages, strict=True):
        if text == one.quote and (passage is None or passage.title == one.title):
            kept.append(one)
        else:
            changed.append(one.id)
    return tuple(kept), tuple(changed)
