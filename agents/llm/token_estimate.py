"""Token estimates of prompts before they are sent: tiktoken's count, scaled to a server's."""

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

_cached_count = lru_cache(maxsize=8)(count_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenEstimate:
    """The estimated tokens of questions to a model."""

    prompt: int
    usual: int
    """Tokens of replies of the usual length."""
    most: int
    """Tokens of replies of the greatest length allowed."""

    def __add__(self, other: TokenEstimate) -> TokenEstimate:
        return TokenEstimate(
            prompt=self.prompt + other.prompt,
            usual=self.usual + other.usual,
            most=self.most + other.most,
        )

    def scaled(self, factor: float) -> TokenEstimate:
        """The estimate for a tokenizer that counts `factor` times as many; `most` is kept."""
        return TokenEstimate(
            prompt=round(self.prompt * factor), usual=round(self.usual * factor), most=self.most
        )


def prompt_tokens(prompt: Rendered) -> int:
    """The tokens of a prompt, by tiktoken's count."""
    return sum(_message_tokens(role, content) + _TEMPLATE for role, content in prompt.messages)


async def server_scale(endpoint: Endpoint, sample: Sequence[Rendered]) -> float | None:
    """The ratio of a server's token count of a sample to tiktoken's; None: it does not count."""
    if not (await endpoint.info()).tokenizes:
        return None
    by_tiktoken = by_server = 0
    for prompt in sample:
        messages = [Message(role=role, content=content) for role, content in prompt.messages]
        count = await endpoint.count_tokens(messages, timeout=_COUNT_TIMEOUT)
        if count is None:
            return None
        by_server += count
        by_tiktoken += prompt_tokens(prompt)
    return by_server / by_tiktoken if by_tiktoken else None


def _message_tokens(role: str, content: str) -> int:
    # The system message is the same for every prompt of a kind, and often the longest.
    return _cached_count(content) if role == "system" else count_tokens(content)
