"""The bound on what a tool returns, counted in cl100k_base tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from hoptrail.app.text import json_text
from hoptrail.rag.text.tokens import count_tokens

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Item = TypeVar("Item", bound="DataclassInstance")

MOST_TOKENS = 8_000
"""Tokens of the text or of the list in one result."""


def longest_prefix(text: str, most: int = MOST_TOKENS) -> str:
    """The text, cut at its end to at most so many tokens."""
    if count_tokens(text) <= most:
        return text
    return text[
        : bisect_right(range(len(text)), most, key=lambda end: count_tokens(text[:end])) - 1
    ]


def that_fit(items: Iterable[Item], most: int = MOST_TOKENS) -> Iterator[Item]:
    """The first items, as many as have at most so many tokens as JSON; at least one."""
    spent = 0
    for number, item in enumerate(items):
        spent += count_tokens(json_text(asdict(item)))
        if number and spent > most:
            return
        yield item
