"""The verifier: a verdict on each claim by its quotes, and a short answer that follows from them.

The local player checks by code. The served one has a model judge what the code lets pass, in one
call, and keeps a claim only where both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.roles.base import (
    ClaimToJudge,
    Entailment,
    EntailmentModel,
    RoleResult,
)
from hoptrail.agents.roles.claim_rules.answer_check import support
from hoptrail.agents.roles.claim_rules.claim_check import check
from hoptrail.agents.roles.common import Reply
from hoptrail.agents.roles.fallback import RoleCall, ask_or_fall_back
from hoptrail.agents.types import Answer, Claim, Evidence
from hoptrail.prompts.loader import load

MOST_JUDGED = 12
"""Claims in one call; those beyond keep the verdict of the code."""


class LocalVerifier:
    """Verification by code alone."""

    async def verify(
        self, answer: Answer, pool: Sequence[Evidence], question: str
    ) -> RoleResult[Answer]:
        """The answer with the code's verdicts."""
        return RoleResult(value=verify(answer, pool, question))


class EntailmentVerifier:
    """Verification by code and a model: a claim holds where both agree."""

    def __init__(self, model: EntailmentModel) -> None:
        self._model = model

    async def verify(
        self, answer: Answer, pool: Sequence[Evidence], question: str
    ) -> RoleResult[Answer]:
        """The answer with the verdicts of both; the model is not asked where the code is sure.

        That is, of claims that the code drops and of those that are a quote, word for word.
        """
        checked = verify(answer, pool, question)
        known = {item.id: item for item in pool}
        places = [
            place
            for place, claim in enumerate(checked.claims)
            if claim.verdict == "holds" and not _is_quote(claim, known)
        ][:MOST_JUDGED]
        if not places or answer.extractive:
            return RoleResult(value=checked)
        result = await self._model.judge(
            [
                ClaimToJudge(
                    text=checked.claims[place].text,
                    quotes=tuple(known[e] for e in checked.claims[place].evidence),
                )
                for place in places
            ]
        )
        claims = list(checked.claims)
        for place, opinion in zip(places, result.value, strict=True):
            if opinion is not None:
                claims[place] = _judged(claims[place], opinion)
        value = verify(replace(answer, claims=tuple(claims)), pool, question)
        return RoleResult(value=value, use=result.use, stop=result.stop)


class ServedEntailment:
    """Entailment judged by a served model, by prompt `ask/verify`: one call for all claims."""

    def __init__(self, client: LLMClient, delimiters: Delimiters) -> None:
        self._client = client
        self._delimiters = delimiters

    async def judge(
        self, claims: Sequence[ClaimToJudge]
    ) -> RoleResult[tuple[Entailment | None, ...]]:
        """One opinion a claim; None where the reply has none, or cannot be used."""
        call = RoleCall(
            role="verify",
            prompt="ask/verify",
            form=VerifyForm,
            max_tokens=32 + 56 * len(claims),
            render=lambda blocks: load("ask/verify").render(claims="\n\n".join(blocks)),
            blocks=[self._block(number, claim) for number, claim in enumerate(claims, 1)],
        )

        def use(form: VerifyForm, seen: Sequence[int]) -> tuple[Entailment | None, ...]:
            by_number = {judged.claim: judged for judged in reversed(form.claims)}
            return tuple(
                _opinion(by_number[place + 1], self._delimiters)
                if place in seen and place + 1 in by_number
                else None
                for place in range(len(claims))
            )

        async def no_opinion() -> RoleResult[tuple[Entailment | None, ...]]:
            return RoleResult(value=(None,) * len(claims))

        return await ask_or_fall_back(self._client, call, use, no_opinion)

    def _block(self, number: int, claim: ClaimToJudge) -> str:
        """The quotes of a claim, numbered by their position, and the claim."""
        wrap = self._delimiters.wrap
        quotes = [
            wrap(f"quote {place} of claim {number}", f"{item.title.strip()}: {item.quote.strip()}")
            for place, item in enumerate(claim.quotes, 1)
        ]
        return "\n".join([*quotes, wrap(f"claim {number}", claim.text.strip())])


class JudgedForm(Reply):
    """The label of one claim."""

    claim: Annotated[int, Field(ge=1, le=MOST_JUDGED)]
    reason: Annotated[str, Field(max_length=100)]
    label: Literal["stated", "contradicted", "not_stated"]


class VerifyForm(Reply):
    """The verifier's reply."""

    claims: Annotated[list[JudgedForm], Field(max_length=MOST_JUDGED)]


def verify(answer: Answer, pool: Sequence[Evidence], question: str = "") -> Answer:
    """The answer with the code's verdict on each claim; its text says no more than those that hold.

    Evidence ids that are not in the pool are removed from the claims. A text that does not follow
    from the claims that hold is replaced by them. A claim that a model dropped stays dropped.

    Args:
        answer: its claims and short text.
        pool: the evidence that the claims may cite.
        question: what was asked; without it, "no" needs a claim that denies.
    """
    known = {item.id: item for item in pool}
    claims = tuple(_checked(claim, known) for claim in answer.claims)
    held = [claim for claim in claims if claim.verdict == "holds"]
    spoken = "\n".join(claim.text for claim in held)
    if answer.unverified:
        return replace(answer, claims=claims)
    if answer.extractive or answer.replaced:
        return replace(answer, claims=claims, text=spoken)
    quotes = list({e: known[e] for claim in held for e in claim.evidence}.values())
    found = support(answer.text, held, quotes, question)
    if found.follows:
        return replace(answer, claims=claims, computation=found.computation)
    return replace(answer, claims=claims, text=spoken, replaced=True, computation=None)


def _checked(claim: Claim, known: dict[str, Evidence]) -> Claim:
    """The claim checked by code, after what a model said of it."""
    checked = check(claim, known)
    if claim.checked_by not in ("model", "both") or checked.verdict == "dropped":
        return checked
    if claim.verdict == "dropped":
        return replace(claim, evidence=checked.evidence)
    # Quotes that are gone since the model judged: only the code has seen the claim by the rest.
    same = set(checked.evidence) == set(claim.evidence)
    return replace(checked, checked_by="both" if same else "code")


def _judged(claim: Claim, opinion: Entailment) -> Claim:
    if opinion.entailed:
        return replace(claim, checked_by="both")
    return replace(claim, verdict="dropped", reason=opinion.reason, checked_by="model")


def _is_quote(claim: Claim, known: dict[str, Evidence]) -> bool:
    return any(claim.text.strip() == known[e].quote.strip() for e in claim.evidence)


def _opinion(judged: JudgedForm, delimiters: Delimiters) -> Entailment:
    said = judged.label.replace("_", " ")
    reason = delimiters.hide(judged.reason).strip()
    return Entailment(
        entailed=judged.label == "stated", reason=f"{said}: {reason}" if reason else said
    )
