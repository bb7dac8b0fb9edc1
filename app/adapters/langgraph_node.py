"""LangGraph node: a whole run, with its own budget, checkpoints and receipt, in another graph."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Unpack

from langgraph.config import get_stream_writer

from hoptrail.agents.ask import AskOptions
from hoptrail.agents.events import Event, ignore
from hoptrail.agents.knowledge_base import KnowledgeBase


def question_node(
    knowledge_base: KnowledgeBase,
    *,
    question: str = "question",
    answer: str = "answer",
    receipt: str = "receipt",
    **options: Unpack[AskOptions],
) -> Callable[[Any], Awaitable[dict[str, str]]]:
    """A node that answers the question in a graph's state.

    The run's events go through the graph's custom stream (`stream_mode="custom"`) as they come. The
    state holds texts only, so any checkpointer can keep it. The run itself keeps to its own
    folder: it is not in the graph's checkpoints, and cancelling the graph cancels it.

        graph.add_node("documents", question_node(kb, strategy="pool"))

    Args:
        knowledge_base: open; who calls this closes it.
        question: the key of the state with the question.
        answer: the key that gets the answer, empty where nothing answers.
        receipt: the key that gets the receipt as JSON (`Receipt.parse` reads it).
        options: of each question, as for `hoptrail.aask`.
    """
    listener = options.get("on_event", ignore)

    async def answer_question(state: Any) -> dict[str, str]:  # noqa: ANN401 (the graph's own)
        write = get_stream_writer()

        def heard(event: Event) -> None:
            write(event)
            listener(event)

        own = options.copy()
        own["on_event"] = heard
        asked = state[question] if isinstance(state, Mapping) else getattr(state, question)
        made = await knowledge_base.aask(asked, **own)
        return {answer: made.answer, receipt: made.json()}

    return answer_question
