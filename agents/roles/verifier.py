"""The verifier: a verdict on each claim by its quotes, and a short answer that follows from them.

The local player checks by code. The served one has a model judge what the code lets pass, in one
call, and keeps a claim only where both agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal, get_args

from pydantic import Field

from hoptrail.agents.llm.client import LLMClient
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.types import ScoredToken
from hoptrail.agents.roles.base import (
    ClaimToJudge,
    Entailment,
    EntailmentModel,
    RoleResult,
)
from hoptrail.agents.roles.claim_rules.answer_check import support
from hoptrail.agents.roles.claim_rules.claim_check import check
from hoptrail.agents.roles.common import Reply
from hoptrail.agents.roles.fallback import RoleCall, ask_with_tokens
from hoptrail.agents.roles.label_probabilities import MOST_LIKELY, label_shares
from hoptrail.agents.types import Answer, Claim, Evidence
from hoptrail.prompts.loader import load

MOST_JUDGED = 12
"""Claims in one call; those beyond keep the verdict of the code."""


SURE = 0.5
"""Least probability of "stated" with which a claim counts as that."""


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
    """Entailment judged by a served model: one call for all claims.

    Args:
        client: asks the model.
        delimiters: go around claims and quotes.
        proofs: whether it labels the parts of each claim, by prompt `reason/prove`; else each claim
            as a whole, by prompt `ask/verify`.
        scored: whether a whole claim counts as stated where the model gave that label half of the
            probability or more, if the server says so; else where it is what the model replied.
    """

    def __init__(
        self,
        client: LLMClient,
        delimiters: Delimiters,
        *,
        proofs: bool = False,
        scored: bool = False,
    ) -> None:
        self._client = client
        self._delimiters = delimiters
        self._prompt = "reason/prove" if proofs else "ask/verify"
        self._form: type[VerifyForm | ProveForm] = ProveForm if proofs else VerifyForm
        self._each = 160 if proofs else 56
        self._scored = scored and not proofs

    async def judge(
        self, claims: Sequence[ClaimToJudge]
    ) -> RoleResult[tuple[Entailment | None, ...]]:
        """One opinion a claim; None where the reply has none, or cannot be used."""
        call: RoleCall[VerifyForm | ProveForm] = RoleCall(
            role="verify",
            prompt=self._prompt,
            form=self._form,
            max_tokens=32 + self._each * len(claims),
            render=lambda blocks: load(self._prompt).render(claims="\n\n".join(blocks)),
            blocks=[self._block(number, claim) for number, claim in enumerate(claims, 1)],
            logprobs=MOST_LIKELY if self._scored else 0,
        )

        def use(
            form: VerifyForm | ProveForm, seen: Sequence[int], tokens: Sequence[ScoredToken]
        ) -> tuple[Entailment | None, ...]:
            opinions = [self._hidden(judged.opinion()) for judged in form.claims]
            if isinstance(form, VerifyForm) and self._scored:
                opinions = _scored(opinions, form.claims, tokens)
            numbers = [judged.claim for judged in form.claims]
            by_number = dict(zip(reversed(numbers), reversed(opinions), strict=True))
            return tuple(
                by_number.get(place + 1) if place in seen else None for place in range(len(claims))
            )

        async def no_opinion() -> RoleResult[tuple[Entailment | None, ...]]:
            return RoleResult(value=(None,) * len(claims))

        return await ask_with_tokens(self._client, call, use, no_opinion)

    def _hidden(self, opinion: Entailment) -> Entailment:
        return replace(opinion, reason=self._delimiters.hide(opinion.reason).strip(" :"))

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

    def opinion(self) -> Entailment:
        """Entailed where it is stated."""
        said = self.label.replace("_", " ")
        return Entailment(entailed=self.label == "stated", reason=f"{said}: {self.reason.strip()}")


class VerifyForm(Reply):
    """The verifier's reply."""

    claims: Annotated[list[JudgedForm], Field(max_length=MOST_JUDGED)]


class PartForm(Reply):
    """A part of a claim, and its relation of natural logic to the quotes."""

    part: Annotated[str, Field(max_length=80)]
    relation: Literal["equal", "follows", "negated", "alternative", "unrelated"]


class ProvedForm(Reply):
    """The parts of one claim."""

    claim: Annotated[int, Field(ge=1, le=MOST_JUDGED)]
    parts: Annotated[list[PartForm], Field(min_length=1, max_length=6)]

    def opinion(self) -> Entailment:
        """The verdict of AdMIRaL's automaton (arXiv 2212.05276) over the relations of the parts.

        Entailed: each part is equal or follows. Contradicted: all but one are, and that one is
        denied or has an alternative. Not stated: anything else.
        """
        open_parts = [one for one in self.parts if one.relation not in ("equal", "follows")]
        if not open_parts:
            return Entailment(entailed=True, reason="stated")
        unrelated = [one for one in open_parts if one.relation == "unrelated"]
        said = "not stated" if unrelated or len(open_parts) > 1 else "contradicted"
        return Entailment(entailed=False, reason=f"{said}: {(unrelated or open_parts)[0].part}")


class ProveForm(Reply):
    """The verifier's reply where it labels the parts of claims."""

    claims: Annotated[list[ProvedForm], Field(max_length=MOST_JUDGED)]


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
    claim = replace(claim, probability=opinion.probability)
    if opinion.entailed:
        return replace(claim, checked_by="both")
    return replace(claim, verdict="dropped", reason=opinion.reason, checked_by="model")


def _is_quote(claim: Claim, known: dict[str, Evidence]) -> bool:
    return any(claim.text.strip() == known[e].quote.strip() for e in claim.evidence)


def _scored(
    opinions: Sequence[Entailment], judged: Sequence[JudgedForm], tokens: Sequence[ScoredToken]
) -> list[Entailment]:
    """The opinions by the probabilities of their labels; as they are where these are not known."""
    found = label_shares(tokens, "label", get_args(JudgedForm.model_fields["label"].annotation))
    if [label for label, _ in found] != [one.label for one in judged]:
        return list(opinions)  # some are in its thoughts, or were too many: whose they are is open
    return [
        _by_share(opinion, shares["stated"]) if shares else opinion
        for opinion, (_, shares) in zip(opinions, found, strict=True)
    ]


def _by_share(opinion: Entailment, stated: float) -> Entailment:
    """The opinion that goes by the probability of "stated"."""
    reason = f"stated with a probability of {stated:.2f}" if opinion.entailed else opinion.reason
    return Entailment(entailed=stated >= SURE, reason=reason, probability=round(stated, 6))
