"""How a served role is played: a task is put to the model, and a fallback stands by."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from hoptrail.agents.budget.ledger import OutOfBudget, Usage
from hoptrail.agents.llm.client import LLMClient, LLMResult
from hoptrail.agents.llm.reply_schema import json_reply
from hoptrail.agents.llm.retry import DeltaListener
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
"""What a failure to be answered means for the whole run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCall(Generic[M]):
    """One thing to ask a model: how the prompt is made, and what may be left out of it."""

    role: str
    prompt: str
    """The prompt file that `render` fills in, such as `ask/plan`."""
    form: type[M]
    max_tokens: int
    render: Callable[[Sequence[str]], Rendered]
    blocks: Sequence[str] = ()
    hear: DeltaListener | None = None
    """Gets the reply as it is written, as `Asker.ask` says; None: nobody waits for it."""


async def ask_or_fall_back(
    asker: LLMClient,
    task: RoleCall[M],
    use: Callable[[M, Sequence[int]], T],
    fallback: Callable[[], Awaitable[RoleResult[T]]],
) -> RoleResult[T]:
    """Asks the model; where its reply cannot be used the fallback plays, and that is noted.

    Args:
        asker: the model.
        task: what to ask.
        use: makes the value of a reply and of the positions of the blocks that the model saw.
        fallback: plays instead.
    """
    if asker.lost is not None:
        gone = unasked(task.role, load(task.prompt).hash, asker, Usage(), 0, asker.lost)
        return RoleResult(value=(await fallback()).value, use=gone, stop=STOPS.get(asker.lost))
    form = json_reply(task.form)
    left_out = 0
    try:
        fitted = await asker.fit(task.render, task.blocks, form=form, max_tokens=task.max_tokens)
        left_out = len(fitted.left_out)
        if task.blocks and not fitted.kept:
            if fitted.by_budget:
                raise OutOfBudget("out_of_tokens")
            nothing = unasked(task.role, fitted.prompt.hash, asker, Usage(), left_out, "overlong")
            return RoleResult(value=(await fallback()).value, use=nothing)
        asked = await asker.ask(
            node=task.role,
            prompt=fitted.prompt,
            form=form,
            max_tokens=task.max_tokens,
            on_delta=task.hear,
        )
    except OutOfBudget as error:
        note = unasked(task.role, load(task.prompt).hash, asker, error.usage, left_out, error.stop)
        return RoleResult(value=(await fallback()).value, use=note, stop=error.stop)
    note = used(task.role, asked, left_out)
    if asked.value is None:
        stop = STOPS.get(asked.failure or "")
        return RoleResult(value=(await fallback()).value, use=note, stop=stop)
    return RoleResult(value=use(asked.value, fitted.kept), use=note)


def used(role: str, asked: LLMResult[T], left_out: int = 0) -> ModelUse:
    """What one question took."""
    return ModelUse(
        role=role,
        prompt_hash=asked.prompt_hash,
        model=asked.model,
        attempts=asked.attempts,
        re_asks=asked.re_asks,
        prompt_tokens=asked.usage.prompt_tokens,
        completion_tokens=asked.usage.completion_tokens,
        failure=asked.failure or "",
        left_out=left_out,
        without=asked.without,
    )


def unasked(
    role: str, prompt_hash: str, asker: LLMClient, spent: Usage, left_out: int, failure: str
) -> ModelUse:
    """What a question took that was not answered, or not even put."""
    return ModelUse(
        role=role,
        prompt_hash=prompt_hash,
        model=asker.server.model,
        attempts=spent.calls,
        re_asks=0,
        prompt_tokens=spent.prompt_tokens,
        completion_tokens=spent.completion_tokens,
        failure=failure,
        left_out=left_out,
    )
