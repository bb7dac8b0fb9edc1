# ruff: noqa: ANN401 - a scene passes on whatever keywords a test names
"""A client of a served model, on a clock of its own, and a question to put to it."""

from __future__ import annotations

import asyncio
import random
from typing import Annotated, Any

from pydantic import BaseModel, Field
from support.clock import Clock

from hoptrail.agents.budget.ledger import Budget, Ledger
from hoptrail.agents.llm.client import LLMClient, LLMResult
from hoptrail.agents.llm.reply_schema import json_reply
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.types import (
    AttemptFailed,
    Endpoint,
    FailureKind,
    Thinking,
)
from hoptrail.prompts.loader import Rendered


class Step(BaseModel):
    """A small reply."""

    query: Annotated[str, Field(max_length=60)]
    sure: bool


FORM = json_reply(Step)
GOOD = '{"query":"who built the Heron","sure":true}'
STEP = Step(query="who built the Heron", sure=True)
PROMPT = Rendered(name="p", messages=(("system", "Plan."), ("user", "Who?")), hash="h")


class SleepClock(Clock):
    """A clock and a sleep that moves it."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Scene:
    """A client of a scripted server with its ledger and clock."""

    def __init__(
        self,
        endpoint: Endpoint,
        budget: Budget | None = None,
        thinking: Thinking | None = None,
        **settings: Any,
    ) -> None:
        self.time = SleepClock()
        self.ledger = Ledger.open(None, budget or Budget(), self.time)
        self.asker = LLMClient(
            RetryingEndpoint(
                endpoint, self.ledger, sleep=self.time.sleep, rng=random.Random(7), **settings
            ),
            thinking=thinking,
        )

    def ask(self, **changes: Any) -> LLMResult[Any]:
        """Asks one question; `changes` replace arguments of `LLMClient.ask`."""

        async def main() -> LLMResult[Any]:
            await self.asker.prepare()
            wanted: dict[str, Any] = {
                "node": "plan",
                "prompt": PROMPT,
                "form": FORM,
                "max_tokens": 60,
            }
            return await self.asker.ask(**{**wanted, **changes})

        return asyncio.run(main())


def failed(kind: FailureKind, **fields: Any) -> AttemptFailed:
    """A failed attempt, retryable as its kind is."""
    retryable = kind in ("connection", "timeout", "rate_limited", "server_error")
    return AttemptFailed(kind, "as scripted", **{"retryable": retryable, **fields})
