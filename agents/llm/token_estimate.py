"""What prompts take in tokens before they are sent: tiktoken's count, scaled to a server's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from hoptrail.agents.llm.types import Endpoint, Message
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.text.tokens import count_tokens

CountedBy = Literal["server", "tiktoken"]

_TEMPLATE = 4
"""Tokens that a chat template usually puts around a message."""
_COUNT_TIMEOUT = 10.0

_remembered = lru_cache(maxsize=8)(count_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEstimate:
    """What some questions to a model take, in tokens."""

    prompt: int
    usual: int
    """Of replies as long as they usually are."""
    most: int
    """Of replies as long as they may be."""

    def __add__(self, other: TokenEstimate) -> TokenEstimate:
        return TokenEstimate(
            prompt=self.prompt + other.prompt,
            usual=self.usual + other.usual,
            most=self.most + other.most,
        )

    def scaled(self, factor: float) -> TokenEstimate:
        """The same for a tokenizer that counts otherwise; replies keep their bound."""
        return TokenEstimate(
            prompt=round(self.prompt * factor), usual=round(self.usual * factor), most=self.most
        )


def prompt_tokens(prompt: Rendered) -> int:
    """What a prompt takes, by tiktoken's count."""
    return sum(_counted(role, content) + _TEMPLATE for role, content in prompt.messages)


async def server_scale(endpoint: Endpoint, sample: Sequence[Rendered]) -> float | None:
    """By how much a server's count of a sample is above tiktoken's; None: it does not say."""
    if not (await endpoint.info()).tokenizes:
        return None
    ours = theirs = 0
    for prompt in sample:
        messages = [Message(role=role, content=content) for role, content in prompt.messages]
        count = await endpoint.count_tokens(messages, timeout=_COUNT_TIMEOUT)
        if count is None:
            return None
        theirs += count
        ours += prompt_tokens(prompt)
    return theirs / ours if ours else None


def _counted(role: str, content: str) -> int:
    # The system's words are the same for every prompt of a kind, and more than most others.
    return _remembered(content) if role == "system" else count_tokens(content)
