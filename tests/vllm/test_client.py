"""hoptrail's client against the real server: what it promises must hold where it will be used."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

import pytest
from pydantic import BaseModel, Field

from hoptrail.agents.budget.ledger import Budget, Ledger, OutOfBudget
from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm.client import LLMClient, LLMResult
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.llm.reply_schema import json_reply, text_reply
from hoptrail.agents.llm.retry import RetryingEndpoint, Sampling
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest, Message
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.errors import ModelError

from .server import VllmServer  # noqa: TID252 (see conftest.py)
from .talk import wait_until_idle  # noqa: TID252

T = TypeVar("T")
BUDGET = Budget(calls=200, tokens=200_000, seconds=1_000.0)
PROMPT = Rendered(name="p", messages=(("system", "Plan."), ("user", "Who built it?")), hash="h")


class Need(BaseModel):
    """Something that must be known."""

    name: Annotated[str, Field(max_length=24)]
    kind: Literal["person", "place", "date"]


class Planned(BaseModel):
    """All that the roles' schemas are made of."""

    needs: Annotated[list[Need], Field(min_length=1, max_length=3)]
    score: Annotated[int, Field(ge=0, le=10)]
    note: Annotated[str, Field(max_length=40)] | None
    enough: bool


FORM = json_reply(Planned)


def endpoint_of(server: VllmServer, **settings: Any) -> HttpEndpoint:  # noqa: ANN401
    key = settings.pop("api_key", server.served.api_key)
    return HttpEndpoint(server.url, api_key=key, **settings)


def using(endpoint: HttpEndpoint, use: Callable[[HttpEndpoint], Awaitable[T]]) -> T:
    """Runs `use` on an endpoint and closes it."""

    async def main() -> T:
        try:
            await endpoint.info()
            return await use(endpoint)
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


def asked(
    server: VllmServer,
    use: Callable[[LLMClient, Ledger], Awaitable[T]],
    budget: Budget = BUDGET,
    **settings: Any,  # noqa: ANN401
) -> T:
    """Runs `use` on a prepared asker."""

    async def main(endpoint: HttpEndpoint) -> T:
        ledger = Ledger.open(None, budget)
        asker = LLMClient(RetryingEndpoint(endpoint, ledger, timeout=300.0, **settings))
        await asker.prepare()
        return await use(asker, ledger)

    return using(endpoint_of(server), main)


def request(text: str = "Which way?", **fields: Any) -> ChatRequest:  # noqa: ANN401
    defaults: dict[str, Any] = {
        "messages": (Message(role="user", content=text),),
        "schema": None,
        "schema_name": "free",
        "max_tokens": 24,
        "cache_salt": "a tenant's",
        "thinking": False,
    }
    return ChatRequest(**{**defaults, **fields})


def test_the_server_is_known(vllm_chat: VllmServer) -> None:
    async def known(asker: LLMClient, ledger: Ledger) -> None:
        server = asker.server
        assert (server.model, server.max_model_len) == ("tiny", 2048)
        assert server.tokenizes
        assert server.enforces_schema
        assert ledger.spent().calls == 1
        assert ledger.flags == ()

    asked(vllm_chat, known)


def test_fifty_of_fifty_replies_are_read(vllm_chat: VllmServer) -> None:
    async def fifty(asker: LLMClient, ledger: Ledger) -> list[LLMResult[Planned]]:
        gate = asyncio.Semaphore(8)

        async def one(seed: int) -> LLMResult[Planned]:
            async with gate:
                return await asker.ask(
                    node="plan",
                    prompt=PROMPT,
                    form=FORM,
                    max_tokens=400,
                    sampling=Sampling(temperature=1.0, seed=seed),
                )

        results = await asyncio.gather(*(one(seed) for seed in range(50)))
        assert ledger.flags == ()
        assert ledger.spent().calls == 51
        return results

    results = asked(vllm_chat, fifty)
    assert [(r.failure, r.attempts, r.re_asks) for r in results] == [(None, 1, 0)] * 50
    assert all(isinstance(r.value, Planned) for r in results)
    assert len({r.value.model_dump_json() for r in results if r.value}) > 25


def test_a_streamed_reply_equals_the_whole_one(vllm_chat: VllmServer) -> None:
    deltas: list[str] = []

    async def both(endpoint: HttpEndpoint) -> tuple[ChatReply, ChatReply]:
        chat = request(schema=FORM.schema, schema_name=FORM.name, max_tokens=400)
        whole = await endpoint.attempt(chat, timeout=300)
        streamed = await endpoint.attempt(
            replace(chat, stream=True), timeout=300, on_delta=deltas.append
        )
        return whole, streamed

    whole, streamed = using(endpoint_of(vllm_chat), both)
    assert streamed == whole
    assert "".join(deltas) == whole.text
    assert len(deltas) > 1
    assert isinstance(FORM.parse(whole.text), Planned)


def test_usage_is_what_the_server_counted_before(vllm_chat: VllmServer) -> None:
    async def count(endpoint: HttpEndpoint) -> tuple[int | None, ChatReply]:
        chat = request("Where was the Heron built, and by whom? É漢🚢")
        counted = await endpoint.count_tokens(chat.messages, timeout=60)
        return counted, await endpoint.attempt(chat, timeout=300)

    counted, reply = using(endpoint_of(vllm_chat), count)
    assert counted is not None
    assert reply.usage == ReportedUsage(prompt_tokens=counted, completion_tokens=24)
    assert reply.finish_reason == "length"


def test_a_reply_that_is_cut_off_is_never_read(vllm_chat: VllmServer) -> None:
    async def cut(asker: LLMClient, _: Ledger) -> LLMResult[Planned]:
        return await asker.ask(node="plan", prompt=PROMPT, form=FORM, max_tokens=6, min_tokens=1)

    result = asked(vllm_chat, cut)
    assert (result.value, result.failure, result.re_asks) == (None, "length", 1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_attempt_frees_the_server(vllm_chat: VllmServer, stream: bool) -> None:
    async def cancel(endpoint: HttpEndpoint) -> int:
        chat = request(max_tokens=2_000, stream=stream)
        while True:  # random weights may end a reply before the server is seen at work
            before = (await asyncio.to_thread(vllm_chat.metrics))["generation_tokens_total"]
            task = asyncio.create_task(endpoint.attempt(chat, timeout=300))
            while not (
                task.done() or (await asyncio.to_thread(vllm_chat.metrics))["num_requests_running"]
            ):
                pass
            if task.cancel():
                with pytest.raises(asyncio.CancelledError):
                    await task
                return before
            await task

    before = using(endpoint_of(vllm_chat), cancel)
    wait_until_idle(vllm_chat)
    assert vllm_chat.metrics()["generation_tokens_total"] - before < 1_900


def test_a_call_that_meets_the_deadline_frees_the_server(vllm_chat: VllmServer) -> None:
    before = vllm_chat.metrics()["generation_tokens_total"]

    async def ask_on_and_on(asker: LLMClient) -> None:
        while True:  # however fast the machine, the run's few seconds end in some call
            await asker.ask(
                node="answer", prompt=PROMPT, form=text_reply("answer"), max_tokens=1_900
            )

    async def slow(asker: LLMClient, ledger: Ledger) -> None:
        with pytest.raises(OutOfBudget) as out:
            await ask_on_and_on(asker)
        assert out.value.stop == "out_of_time"
        assert ledger.spent().tokens <= 100_000

    budget = Budget(calls=100, tokens=100_000, seconds=8.0)
    asked(vllm_chat, slow, budget)
    wait_until_idle(vllm_chat)
    assert vllm_chat.metrics()["generation_tokens_total"] > before


def test_a_wrong_key(vllm_chat: VllmServer) -> None:
    with pytest.raises(ModelError, match="refuses the API key") as caught:
        using(endpoint_of(vllm_chat, api_key="geheim"), lambda endpoint: endpoint.info())
    assert "geheim" not in str(caught.value)


def test_an_unknown_model(vllm_chat: VllmServer) -> None:
    with pytest.raises(ModelError, match=r"serves no model 'other': it has \['tiny'\]"):
        using(endpoint_of(vllm_chat, model="other"), lambda endpoint: endpoint.info())


def test_a_model_that_is_gone_since(vllm_chat: VllmServer) -> None:
    async def gone(endpoint: HttpEndpoint) -> AttemptFailed:
        endpoint.learn(replace(await endpoint.info(), model="gone"))
        with pytest.raises(AttemptFailed) as caught:
            await endpoint.attempt(request(), timeout=60)
        return caught.value

    failed = using(endpoint_of(vllm_chat), gone)
    assert (failed.kind, failed.retryable, failed.spent) == ("unknown_model", False, False)
    assert "'gone'" in failed.detail


def test_an_overlong_prompt(vllm_chat: VllmServer) -> None:
    async def overlong(endpoint: HttpEndpoint) -> AttemptFailed:
        with pytest.raises(AttemptFailed) as caught:
            await endpoint.attempt(request("word " * 3_000), timeout=60)
        return caught.value

    failed = using(endpoint_of(vllm_chat), overlong)
    assert (failed.kind, failed.retryable, failed.spent) == ("overlong", False, False)


def test_a_prompt_is_packed_into_the_servers_window(vllm_chat: VllmServer) -> None:
    sentence = "the Heron sailed from Norrvik to Aldersund. "
    blocks = [f"Passage {number}: {sentence * 12}" for number in range(9)]

    async def pack(asker: LLMClient, ledger: Ledger) -> tuple[tuple[int, ...], LLMResult[Planned]]:
        fitted = await asker.fit(
            lambda chosen: replace(PROMPT, messages=(("user", "\n".join(chosen)),)),
            blocks,
            form=FORM,
            max_tokens=400,
        )
        assert (*fitted.kept, *fitted.left_out) == tuple(range(9))
        result = await asker.ask(node="plan", prompt=fitted.prompt, form=FORM, max_tokens=400)
        assert ledger.flags == ()
        return fitted.kept, result

    kept, result = asked(vllm_chat, pack)
    assert 0 < len(kept) < 9
    assert result.value is not None
    # A window filled by the server's own count: the next block would not have gone in.
    assert result.usage.prompt_tokens > (2048 - 400) * 0.6


def test_a_bad_schema_is_refused_and_not_tried_again(vllm_chat: VllmServer) -> None:
    async def bad(asker: LLMClient, ledger: Ledger) -> LLMResult[Any]:
        form = replace(FORM, schema={"type": "no such type"})
        result = await asker.ask(node="plan", prompt=PROMPT, form=form, max_tokens=40)
        assert ledger.spent().calls == 2
        return result

    result = asked(vllm_chat, bad)
    assert (result.failure, result.attempts, result.usage.tokens) == ("refused_by_server", 1, 0)


def test_a_server_killed_in_mid_answer_and_started_again(vllm_chat: VllmServer) -> None:
    heard: list[str | None] = []

    def kill_once(delta: str | None) -> None:
        if not heard:
            vllm_chat.kill()
        heard.append(delta)

    async def restart(_: float) -> None:
        if not vllm_chat.running:
            await asyncio.to_thread(vllm_chat.restart)

    async def ask(asker: LLMClient, ledger: Ledger) -> LLMResult[Planned]:
        result = await asker.ask(
            node="plan", prompt=PROMPT, form=FORM, max_tokens=400, on_delta=kill_once
        )
        assert ledger.flags == ()
        return result

    result = asked(vllm_chat, ask, sleep=restart)
    assert result.value is not None
    assert result.attempts == 3  # cut off, refused while it was down, answered
    assert [problem.split(":")[0] for problem in result.problems] == ["connection"] * 2
    void = heard.index(None)
    assert FORM.parse("".join(filter(None, heard[void:]))) == result.value


def test_an_engine_that_dies_is_a_server_that_is_unavailable(vllm_chat: VllmServer) -> None:
    killed: list[str | None] = []

    def kill_once(delta: str | None) -> None:
        if not killed:
            vllm_chat.kill_engine()
        killed.append(delta)

    async def no_wait(_: float) -> None:
        await asyncio.sleep(0.2)

    async def ask(asker: LLMClient, _: Ledger) -> LLMResult[str]:
        return await asker.ask(
            node="answer",
            prompt=PROMPT,
            form=text_reply("answer"),
            max_tokens=1_900,
            on_delta=kill_once,
        )

    result = asked(vllm_chat, ask, sleep=no_wait)
    vllm_chat.kill()
    assert (result.value, result.failure, result.attempts) == (None, "unavailable", 4)
    assert result.problems[0].startswith("server_error: ")
    assert killed[-1] is None
