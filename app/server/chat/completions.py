"""The routes of the chat API: `/v1/models` and `/v1/chat/completions`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from hoptrail.agents.strategies.registry import STRATEGIES
from hoptrail.app.server.api_errors import ApiError, documented
from hoptrail.app.server.auth import Caller
from hoptrail.app.server.chat.conversation import conversation_of
from hoptrail.app.server.chat.openai_types import ChatRequest, Completion, Model, ModelList
from hoptrail.app.server.chat.question import Answered, Question, Wanted
from hoptrail.app.server.chat.reply import Completions, Style, plain_reply, reply_to
from hoptrail.app.server.chat.tasks import HEADER, task_answer, task_of
from hoptrail.app.server.server_settings import ApiKey
from hoptrail.app.server.shared.context import base_of, context_of

MODEL = "hoptrail"
_CLIENT = "open-webui"
_STREAM = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

router = APIRouter(tags=["chat"])


@router.get("/v1/models", responses=documented())
async def models(_key: Caller) -> ModelList:
    """The models: `hoptrail`, and one a strategy."""
    names = [MODEL, *(f"{MODEL}/{name}" for name in sorted(STRATEGIES))]
    return ModelList(data=[Model(id=name) for name in names])


@router.get("/v1/models/{model:path}", responses=documented(404))
async def model_named(request: Request, model: str, _key: Caller) -> Model:
    """One model."""
    strategy_of(model, context_of(request).settings.strategy)
    return Model(id=model)


@router.post(
    "/v1/chat/completions",
    response_model=Completion,
    responses={
        **documented(404),
        200: {
            "description": "The completion; with `stream` as server-sent events.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
    },
)
async def chat_completions(request: Request, body: ChatRequest, key: Caller) -> Any:  # noqa: ANN401
    """Answer the last question of a conversation from the documents, with numbered sources."""
    context = context_of(request)
    strategy = strategy_of(body.model, context.settings.strategy)
    style, completions = style_of(request, body, key), Completions(body=body)
    task = task_of(request.headers.get(HEADER), body.messages)
    if task is not None:
        context.metrics.tasks.labels(task=task).inc()
        reply = plain_reply(task_answer(task, body.messages), body)
        if body.stream:
            return _stream(completions.replayed(reply))
        return completions.whole(reply)
    wanted = Wanted(
        conversation=conversation_of(body.messages),
        strategy=strategy,
        key=key,
        base=base_of(request),
        where=body.hoptrail.where,
        mode=body.hoptrail.mode,
    )
    question = await Question.begin(context, wanted)
    if body.stream:
        return _stream(completions.streamed(question, style))
    try:
        answered = await _unless_left(request, question)
    finally:
        question.close()
    return completions.whole(reply_to(answered, body, style))


def strategy_of(model: str, default: str) -> str:
    """The strategy that a model's name means.

    Raises:
        ApiError: it means none.
    """
    name = default if model == MODEL else model.removeprefix(f"{MODEL}/")
    if name not in STRATEGIES:
        raise ApiError(
            404,
            "model_not_found",
            f"There is no model {model[:100]!r}: GET /v1/models lists them.",
            param="model",
        )
    return name


def style_of(request: Request, body: ChatRequest, key: ApiKey) -> Style:
    """How a request wants its answer: by its body, else by its key, else by who sends it."""
    wanted = body.hoptrail
    if wanted.events is not None:
        events = wanted.events
    elif key.events == "auto":
        agent = request.headers.get("user-agent", "").lower().replace(" ", "-")
        named = any(name.startswith("x-openwebui-") for name in request.headers)
        events = named or _CLIENT in agent
    else:
        events = key.events == "on"
    context = context_of(request)
    return Style(
        drafts=context.models is not None and not events,
        listed=key.source_list if wanted.source_list is None else wanted.source_list,
        events=events,
        beginnings=context.settings.links,
    )


async def _unless_left(request: Request, question: Question) -> Answered:
    """The end of a question, told to end early if its client goes away meanwhile."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        question.close()

    watch = asyncio.create_task(left())
    try:
        return await question.answered()
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


def _stream(chunks: AsyncIterator[str]) -> StreamingResponse:
    return StreamingResponse(chunks, media_type="text/event-stream", headers=_STREAM)
