"""The nodes that end a run: answer, verify, receipt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from hoptrail.agents.budget.branches import gather_or_cancel
from hoptrail.agents.events import ClaimVerified, StepStarted
from hoptrail.agents.nodes import evidence_pool as pool
from hoptrail.agents.nodes.common import (
    evidence_from,
    role_input,
    role_step,
    shown_passages,
    texts_of,
)
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.roles.base import Draft
from hoptrail.agents.roles.claim_rules.answer_check import is_yes_or_no
from hoptrail.agents.roles.reading.answerer import extractive_answer
from hoptrail.agents.roles.reading.grounding import grounds, verbatim
from hoptrail.agents.roles.searching.bindings import contradictions, supported_by
from hoptrail.agents.roles.verifier import verify as verify_answer
from hoptrail.agents.runs.receipt import FINISHED, Receipt, outcome_of
from hoptrail.agents.types import (
    Answer,
    Claim,
    Evidence,
    StepRecord,
    StopReason,
)


async def answer(state: RunState, run: RunContext) -> StateUpdate:
    """Passages and quotes → claims with evidence ids; the node whose text reaches a user."""
    run.emit(StepStarted(node="answer", round=state.round))
    run.show_answer("")  # of a round before
    situation = await role_input(state, run)
    if not situation.passages and not situation.pool:
        abstention = Answer(text="", claims=(), extractive=True, abstains=True)
        step = StepRecord(node="answer", action="abstained", detail="nothing was read")
        return StateUpdate(answer=abstention, steps=(step,))
    result = await run.roles.answerer.answer(situation, run.emit)
    made, added = _with_quotes(result.value, state, run)
    action = "abstained" if made.abstains else "answered"
    cited = tuple(dict.fromkeys(e for claim in made.claims for e in claim.evidence))
    step = role_step("answer", action, made.text[:200], result, cited)
    return StateUpdate(answer=made, evidence=added, steps=(step,), stop=result.stop)


async def answer_briefly(state: RunState, run: RunContext) -> StateUpdate:
    """Passages → the reader's short answer as it is, with the sentences that contain it."""
    run.emit(StepStarted(node="answer_briefly", round=state.round))
    passages = await shown_passages(state, run)
    result = await run.roles.reader.read(state.question, passages)
    claims = tuple(verbatim(quote, run.texts[quote.passage_id]) for quote in result.value.quotes)
    draft = Draft(
        answer=Answer(
            text=result.value.text,
            claims=claims,
            extractive=not run.model or bool(result.use and result.use.failure),
            abstains=not result.value.text,
            unverified=True,
        ),
        quotes=result.value.quotes,
    )
    made, evidence = _with_quotes(draft, state, run)
    checked = verify_answer(made, evidence, state.question)
    run.show_answer(checked.text)
    step = role_step("answer_briefly", "answered", made.text[:200], result)
    return StateUpdate(answer=checked, evidence=evidence, steps=(step,), stop=result.stop)


async def verify(state: RunState, run: RunContext) -> StateUpdate:
    """Checks each claim against its quotes; one that does not hold is dropped, with the reason.

    A short answer that no claim supports is looked for, word for word, in what was read, unless a
    model judged a claim to be false. Where nothing holds, the quotes are shown in its place.
    """
    run.emit(StepStarted(node="verify", round=state.round))
    if state.answer is None:  # the answer node was cut off
        return StateUpdate()
    result = await run.roles.verifier.verify(state.answer, state.evidence, state.question)
    verified, evidence = result.value, state.evidence
    refused = any(claim.checked_by == "model" for claim in verified.claims)
    if verified.replaced and not verified.abstains and not refused:
        grounded, more = await _grounded(state, run, verified)
        found = verify_answer(grounded, more, state.question)
        if not found.replaced:
            verified, evidence = found, more
    held = any(claim.verdict == "holds" for claim in verified.claims)
    if not held or (verified.replaced and run.settings.claims_by == "code"):
        verified = _quotes_instead(verified, evidence, state.question)
    run.show_answer(verified.text)
    for claim in verified.claims:
        run.emit(ClaimVerified(claim=claim))
    dropped = [claim for claim in verified.claims if claim.verdict == "dropped"]
    detail = f"{len(verified.claims) - len(dropped)} hold, {len(dropped)} dropped"
    step = role_step("verify", "checked claims", detail, result)
    return StateUpdate(answer=verified, evidence=evidence, steps=(step,), stop=result.stop)


def _with_quotes(
    draft: Draft, state: RunState, run: RunContext
) -> tuple[Answer, tuple[Evidence, ...]]:
    """A draft's answer, and the evidence pool with its quotes.

    A quote that lies within one of the pool is cited as that one.
    """
    fresh = evidence_from(draft.quotes, state.candidates, state, run, generation=state.generation)
    evidence = pool.merge_evidence(state.evidence, fresh)
    cited = {item.id: pool.covering(item, evidence) for item in fresh}
    claims = tuple(
        replace(
            claim,
            evidence=tuple(dict.fromkeys(cited.get(one, one) for one in claim.evidence)),
        )
        for claim in draft.answer.claims
    )
    return replace(draft.answer, claims=claims), evidence


async def _grounded(
    state: RunState, run: RunContext, verified: Answer
) -> tuple[Answer, tuple[Evidence, ...]]:
    """An answer whose text no claim supports, with the sentences that contain it as claims.

    Yes and no are in no sentence: the quotes that the model cited speak for them, in their words.
    """
    assert state.answer is not None, "verify() has an answer"
    given = replace(state.answer, claims=verified.claims)
    known = {item.id: item for item in state.evidence}
    cited = [known[one] for claim in given.claims for one in claim.evidence if one in known]
    if is_yes_or_no(given.text):
        own = tuple(Claim(text=item.quote, evidence=(item.id,)) for item in cited)
        return replace(given, claims=(*dict.fromkeys(own), *given.claims)), state.evidence
    passages = await texts_of(
        [*(item.passage_id for item in cited), *(one.passage_id for one in state.read)], run
    )
    quotes = grounds(given.text, state.question, passages)
    claims = tuple(verbatim(quote, run.texts[quote.passage_id]) for quote in quotes)
    return _with_quotes(
        Draft(answer=replace(given, claims=(*claims, *given.claims)), quotes=quotes), state, run
    )


def _quotes_instead(answer: Answer, evidence: Sequence[Evidence], question: str) -> Answer:
    """The documents' own words in the place of an answer of which nothing holds."""
    if answer.extractive or answer.abstains or not evidence:
        return answer
    shown = verify_answer(extractive_answer(evidence), evidence, question)
    dropped = [claim for claim in answer.claims if claim.verdict == "dropped"]
    return replace(shown, claims=(*shown.claims, *dropped), replaced=True)


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
    run.show_answer(answer.text if answer is not None else "")
    stop: StopReason = state.stop if state.stop is not None else "unjudged"
    if unchecked and stop in FINISHED:
        stop = "out_of_time"
    claims = answer.claims if answer is not None else ()
    bindings = supported_by(state.bindings, (one.id for one in unchanged))
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
        bindings=bindings,
        contradictions=contradictions(bindings, unchanged),
        source_changed=changed,
        unchecked=unchecked,
        candidates=state.candidates,
        read=state.read,
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
