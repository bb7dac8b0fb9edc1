"""A role call to a served model, with the local player as fallback.

In a model call this comes after the role and before `llm.client`, which does the asking.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from hoptrail.agents.budget.ledger import OutOfBudget, Share, Usage
from hoptrail.agents.llm.client import LLMClient, LLMResult
from hoptrail.agents.llm.reply_schema import json_reply
from hoptrail.agents.llm.retry import DeltaListener, Sampling
from hoptrail.agents.llm.types import ScoredToken
from hoptrail.agents.roles.base import RoleResult
from hoptrail.agents.types import ModelUse, StopReason
from hoptrail.prompts.loader import Rendered, load

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")

STOPS: dict[str, StopReason] = {
    "unavailable": "model_unavailable",
    "refused_by_server": "model_unavailable",
    "cancelled": "cancelled",
}
"""The stop reason of the run, by the failure of a model call; other failures do not end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCall(Generic[M]):
    """One role's question to a model: prompt, reply schema, and the blocks that may be left out."""

    role: str
    prompt: str
    """The prompt file that `render` fills in, such as `ask/plan`."""
    form: type[M]
    max_tokens: int
    render: Callable[[Sequence[str]], Rendered]
    blocks: Sequence[str] = ()
    share: Share | None = None
    """The part of the budget that it is taken from; None: all that is left."""
    on_delta: DeltaListener | None = None
    """Gets the reply as it is written, as `LLMClient.ask` says; None: the reply is not streamed."""
    logprobs: int = 0
    """As in `ChatRequest`, for `ask_with_tokens`."""


async def ask_or_fall_back(
    client: LLMClient,
    call: RoleCall[M],
    use: Callable[[M, Sequence[int]], T],
    fallback: Callable[[], Awaitable[RoleResult[T]]],
) -> RoleResult[T]:
    """The result of a role by a served model, or by the fallback where the reply is unusable.

    As `ask_with_tokens`, for roles that have no use for tokens.
    """
    return await ask_with_tokens(client, call, lambda form, seen, _: use(form, seen), fallback)


async def ask_with_tokens(
    client: LLMClient,
    call: RoleCall[M],
    use: Callable[[M, Sequence[int], Sequence[ScoredToken]], T],
    fallback: Callable[[], Awaitable[RoleResult[T]]],
) -> RoleResult[T]:
    """The result of a role by a served model, or by the fallback where the reply is unusable.

    A fallback is noted in the result's `use`.

    Args:
        client: asks the model.
        call: what to ask.
        use: makes the value from a reply, the positions of the blocks that the model saw, and the
            reply's tokens, of which there are none where the server gives none.
        fallback: the local player's result, awaited only where the model's cannot be used.
    """
    if client.lost is not None:
        note = failed(call.role, load(call.prompt).hash, client, Usage(), 0, client.lost)
        return RoleResult(value=(await fallback()).value, use=note, stop=STOPS.get(client.lost))
    form = json_reply(call.form)
    left_out = 0
    try:
        fitted = await client.fit(
            call.render, call.blocks, form=form, max_tokens=call.max_tokens, share=call.share
        )
        left_out = len(fitted.left_out)
        if call.blocks and not fitted.kept:
            if fitted.by_budget:
                raise OutOfBudget("out_of_tokens")
            note = failed(call.role, fitted.prompt.hash, client, Usage(), left_out, "overlong")
            return RoleResult(value=(await fallback()).value, use=note)
        asked = await client.ask(
            node=call.role,
            prompt=fitted,
            form=form,
            max_tokens=call.max_tokens,
            share=call.share,
            on_delta=call.on_delta,
            sampling=Sampling(logprobs=call.logprobs),
        )
    except OutOfBudget as error:
        note = failed(call.role, load(call.prompt).hash, client, error.usage, left_out, error.stop)
        return RoleResult(value=(await fallback()).value, use=note, stop=error.stop)
    note = used(call.role, asked, left_out)
    if asked.value is None:
        stop = STOPS.get(asked.failure or "")
        return RoleResult(value=(await fallback()).value, use=note, stop=stop)
    return RoleResult(value=use(asked.value, fitted.kept, asked.tokens), use=note)


def used(role: str, asked: LLMResult[T], left_out: int = 0) -> ModelUse:
    """The model usage of a call that got a reply."""
    return ModelUse(
        role=role,
        prompt_hash=asked.prompt_hash,
        model=asked.model,
        attempts=asked.attempts,
        re_asks=asked.re_asks,
        prompt_tokens=asked.usage.prompt_tokens,
        completion_tokens=asked.usage.completion_tokens,
        failure=asked.failure or "",
        problem=asked.problems[-1] if asked.failure and asked.problems else "",
        left_out=left_out,
        without=asked.without,
    )


def failed(
    role: str, prompt_hash: str, client: LLMClient, spent: Usage, left_out: int, failure: str
) -> ModelUse:
    """The model usage of a call without a reply, or one that was never sent."""
    return ModelUse(
        role=role,
        prompt_hash=prompt_hash,
        model=client.server.model,
        attempts=spent.calls,
        re_asks=0,
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        failure=failure,
        left_out=left_out,
    )
