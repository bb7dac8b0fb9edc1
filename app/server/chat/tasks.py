"""Answers by rule to what front ends ask in the background: titles, tags, follow-ups, queries.

Open WebUI sends up to four such requests a message to the chat's own model. They name themselves in
the header `X-OpenWebUI-Task`, or are known by the shape of their prompt. None searches, and none
calls a model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from hoptrail.app.server.chat.openai_types import ChatMessage
from hoptrail.app.text import one_line, shortened
from hoptrail.rag.entities.keyphrases import stop_words_of

HEADER = "x-openwebui-task"
_TITLE_WORDS, _TAGS = 5, 3
_LONGEST = 60
_TASKS = {
    "title_generation": "title",
    "tags_generation": "tags",
    "follow_up_generation": "follow_ups",
    "query_generation": "queries",
    "emoji_generation": "emoji",
    "image_prompt_generation": "prompt",
    "autocomplete_generation": "text",
    "function_calling": "tool_calls",
    "moa_response_generation": "",
    "context_compaction": "",
    "memory_review": "",
}
"""The field that each task's answer has; empty: its answer is a text."""
_FIELDS = {
    "title": "title_generation",
    "tags": "tags_generation",
    "follow_ups": "follow_up_generation",
    "queries": "query_generation",
    "text": "autocomplete_generation",
}
_ASKED = re.compile(r"JSON format:?\s*`*\s*\{\s*\"(\w+)\"", re.IGNORECASE)
_TITLE_PROMPTS = re.compile(
    r"\b(?:concise|short|brief)\b[^.\n]{0,80}\btitle\b|\btitle\b[^.\n]{0,60}\b(?:conversation|chat)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w[\w'’-]*")
_HISTORY = re.compile(r"<chat_history>(.*?)</chat_history>", re.DOTALL)
_USER = re.compile(r"^\s*(?:USER|User|Human)\s*:\s*(.+)", re.MULTILINE)


def task_of(header: str | None, messages: Sequence[ChatMessage]) -> str | None:
    """The task that a request is; None: it is a question."""
    if header in _TASKS:
        return header
    last = next((one.text for one in reversed(messages) if one.role == "user"), "")
    if last.lstrip().startswith("### Task:"):
        asked = _ASKED.search(last)
        return _FIELDS.get(asked.group(1), "title_generation") if asked else "title_generation"
    if _HISTORY.search(last) is None and not _USER.search(last):
        return None
    return "title_generation" if _TITLE_PROMPTS.search(last[:1_000]) else None


def task_answer(task: str, messages: Sequence[ChatMessage]) -> str:
    """The answer to a task, in the form that it asks for."""
    field, words = _TASKS[task], _first_question(messages)
    values = {
        "title": _title(words),
        "tags": _tags(words),
        "follow_ups": [],
        "queries": [words] if words else [],
        "emoji": "💬",
        "prompt": words,
        "text": "",
        "tool_calls": [],
    }
    return json.dumps({field: values[field]}, ensure_ascii=False) if field else words


def _first_question(messages: Sequence[ChatMessage]) -> str:
    """What the conversation that the task is about began with, shortened."""
    text = next((one.text for one in reversed(messages) if one.role == "user"), "")
    shown = _HISTORY.search(text)
    asked = _USER.search(shown.group(1) if shown else text)
    if asked:
        return shortened(one_line(asked.group(1)), 300)
    first = next((one.text for one in messages if one.role == "user"), "")
    return "" if first.lstrip().startswith("### Task:") else shortened(one_line(first), 300)


def _title(question: str) -> str:
    """The key phrase of a question: at most five words."""
    chosen = _content_words(question)[:_TITLE_WORDS]
    title = shortened(" ".join(chosen), _LONGEST) or "New chat"
    return title[:1].upper() + title[1:]


def _tags(question: str) -> list[str]:
    """The longest words of a question that count."""
    words = dict.fromkeys(word.casefold() for word in _content_words(question))
    return sorted(words, key=len, reverse=True)[:_TAGS] or ["general"]


def _content_words(text: str) -> list[str]:
    """The words of a text that are no stop words of its language; all, if there are no others."""
    words = _WORD.findall(text)
    stops = stop_words_of([word.casefold() for word in words])
    return [word for word in words if word.casefold() not in stops] or words
