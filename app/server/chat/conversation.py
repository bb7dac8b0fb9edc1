"""A conversation as front ends send it, as a question and the turns before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from hoptrail.agents.runs.request import LONGEST_QUESTION
from hoptrail.agents.types import Turn
from hoptrail.app.server.api_errors import ApiError
from hoptrail.app.server.chat.openai_types import ChatMessage
from hoptrail.app.server.chat.sources import SOURCES_HEADING

_MOST_TURNS = 16
"""Turns before the question that are read, the latest."""
_THOUGHTS = re.compile(
    r"<(details|think|thinking|reasoning)\b[^>]*>.*?</\1>", re.DOTALL | re.IGNORECASE
)
_MARK = re.compile(r" ?\[\d{1,4}\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The question that was asked last, and the turns before it, oldest first."""

    question: str
    history: tuple[Turn, ...]


def conversation_of(messages: Sequence[ChatMessage]) -> Conversation:
    """The conversation of messages; what a system says is no part of it.

    Raises:
        ApiError: there is no question.
    """
    turns: list[Turn] = []
    for message in messages:
        if message.role == "user":
            turns.append(Turn(question=message.text.strip()))
        elif message.role == "assistant" and turns and not turns[-1].answer:
            turns[-1] = Turn(question=turns[-1].question, answer=bare_answer(message.text))
    turns = [turn for turn in turns if turn.question]
    if not turns:
        raise ApiError(
            400, "no_question", "messages: the last message of the user is the question, and there "
            "is none.", param="messages",
        )  # fmt: skip
    *before, last = turns
    return Conversation(
        question=last.question,
        history=tuple(
            Turn(question=one.question[:LONGEST_QUESTION], answer=one.answer)
            for one in before[-_MOST_TURNS:]
        ),
    )


def bare_answer(text: str) -> str:
    """An earlier answer without thoughts, marks and the list of sources."""
    text = _THOUGHTS.sub("", text[: 4 * LONGEST_QUESTION]).partition(SOURCES_HEADING)[0]
    return _MARK.sub("", text).strip()[:LONGEST_QUESTION]
