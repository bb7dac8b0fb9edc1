"""The HTTP client against a loopback server with every misbehaviour we know of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

import httpx
import pytest
from support import chat_server as fake
from support.chat_server import FakeServer, says, status

from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm import http
from hoptrail.agents.llm import openai_format as wire
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ScoredToken,
    ServerInfo,
)
from hoptrail.rag.errors import ModelError, SettingsError

T = TypeVar("T")
SCHEMA = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}


def request(**fields: object) -> ChatRequest:
    defaults: dict[str, object] = {
        "messages": (Message(role="user", content="hello"),),
        "schema": None,
        "schema_name": "free",
        "max_tokens": 32,
    }
    return ChatRequest(**{**defaults, **fields})  # type: ignore[arg-type]


def with_endpoint(
    server: FakeServer, use: Callable[[HttpEndpoint], Awaitable[T]], **settings: object
) -> T:
    """Runs `use` on an endpoint of `server` and closes it."""

    async def main() -> T:
        endpoint = HttpEndpoint(server.url, **settings)  # type: ignore[arg-type]
        try:
            await endpoint.info()
            return await use(endpoint)
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


def attempt(server: FakeServer, chat: ChatRequest | None = None, **settings: object) -> ChatReply:
    return with_endpoint(
        server, lambda endpoint: endpoint.attempt(chat or request(), timeout=30), **settings
    )


def failure(
    server: FakeServer, chat: ChatRequest | None = None, **settings: object
) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        attempt(server, chat, **settings)
    return caught.value


def complaint(server: FakeServer, **settings: object) -> str:
    """What a user reads when the server cannot be used at all."""
    with pytest.raises(ModelError) as caught:
        attempt(server, **settings)
    return str(caught.value)


def test_an_http_endpoint_keeps_the_protocol() -> None:
    endpoint = HttpEndpoint("http://127.0.0.1:1")
    assert isinstance(endpoint, Endpoint)
    asyncio.run(endpoint.aclose())


# What is sent and what comes back


def test_a_reply_with_its_usage() -> None:
    with FakeServer(says("hello there", reasoning="hm")) as server:
        reply = attempt(server)
    assert reply == ChatReply(
        text="hello there",
        finish_reason="stop",
        usage=ReportedUsage(prompt_tokens=10, completion_tokens=5),
        model="fake",
        reasoning="hm",
    )


def test_the_body_and_headers_of_a_request() -> None:
    with FakeServer() as server:
        attempt(
            server,
            request(
                schema=SCHEMA, schema_name="step", seed=0, temperature=0.5,
                cache_salt="s4lt", thinking=False,
            ),
            api_key="k3y",
        )  # fmt: skip
        (body,) = server.chats
        assert server.requests[-1].headers["authorization"] == "Bearer k3y"
    assert body == {
        "model": "fake",
        "messages": [{"role": "user", "content": "hello"}],
        "max_tokens": 32,
        "temperature": 0.5,
        "seed": 0,
        "cache_salt": "s4lt",
        "chat_template_kwargs": {"enable_thinking": False},
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "step", "schema": SCHEMA, "strict": True},
        },
    }


def test_extensions_are_sent_only_when_set() -> None:
    with FakeServer() as server:
        attempt(server)
        assert set(server.chats[0]) == {"model", "messages", "max_tokens", "temperature"}


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_the_address_may_be_given_with_or_without_v1(ending: str) -> None:
    with FakeServer() as server:

        async def main() -> str:
            endpoint = HttpEndpoint(server.url + ending)
            await endpoint.info()
            reply = await endpoint.attempt(request(), timeout=30)
            await endpoint.aclose()
            return reply.text

        assert asyncio.run(main()) == "hello"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://host:port",
        "http://h?x=1",
        "http://h/\udc80",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="address"):
        HttpEndpoint(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://me:geheim@127.0.0.1:1", "http://geheim@127.0.0.1:1", "me:geheim@127.0.0.1:1",
        "ftp://me:geheim@127.0.0.1:1", "http://me:geheim@127.0.0.1:x", "http://me:geheim/2@h:1",
    ],
)  # fmt: skip
def test_an_address_with_a_password_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError, match="address") as caught:
        HttpEndpoint(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_key_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        HttpEndpoint("http://127.0.0.1:1", api_key="geheim\n")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["a plain reply", "", "é\u2028\u0085\x0b\U0001f600 end", '{"data: ": "x"}', "line\nline\r\n"],
)
def test_a_streamed_reply_equals_the_whole_one(text: str) -> None:
    deltas: list[str] = []
    with FakeServer(says(text, reasoning="hm")) as server:
        whole = attempt(server)
        streamed = with_endpoint(
            server,
            lambda endpoint: endpoint.attempt(
                request(stream=True), timeout=30, on_delta=deltas.append
            ),
        )
    assert streamed == whole
    assert "".join(deltas) == text


def test_a_server_that_does_not_stream_is_read_whole() -> None:
    async def stubborn(exchange: fake.Exchange) -> None:
        assert exchange.request.body is not None
        exchange.request.body["stream"] = False
        await says("as a whole")(exchange)

    deltas: list[str] = []
    with FakeServer(stubborn) as server:
        reply = with_endpoint(
            server,
            lambda endpoint: endpoint.attempt(
                request(stream=True), timeout=30, on_delta=deltas.append
            ),
        )
    assert reply.text == "as a whole"
    assert deltas == ["as a whole"]


def test_lone_surrogates_neither_leave_nor_enter() -> None:
    with FakeServer(says("bad \ud800 text", pieces=["bad ", "\ud83d", "\ude00"])) as server:
        chat = request(messages=(Message(role="user", content="odd \udfff"),))
        assert attempt(server, chat).text == "bad \ufffd text"
        assert server.chats[0]["messages"][0]["content"] == "odd \ufffd"


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        {},
        {"prompt_tokens": 3},
        {"prompt_tokens": True, "completion_tokens": 1},
        {"prompt_tokens": 1.5, "completion_tokens": 1},
        {"prompt_tokens": "3", "completion_tokens": 1},
    ],
)
def test_usage_that_is_no_two_counts_is_none(usage: object) -> None:
    with FakeServer(says("x", usage=usage)) as server:
        assert attempt(server).usage is None


def test_absurd_usage_is_passed_on_for_the_ledger_to_judge() -> None:
    lie = {"prompt_tokens": -7, "completion_tokens": 10**30}
    with FakeServer(says("x", usage=lie)) as server:
        assert attempt(server).usage == ReportedUsage(prompt_tokens=-7, completion_tokens=10**30)


# Failures


@pytest.mark.parametrize(
    ("code", "kind", "retryable", "spent"),
    [
        (400, "bad_request", False, False),
        (401, "unauthorised", False, False),
        (403, "unauthorised", False, False),
        (408, "bad_request", False, False),
        (413, "overlong", False, False),
        (422, "bad_request", False, False),
        (429, "rate_limited", True, False),
        (500, "server_error", True, True),
        (502, "server_error", True, True),
        (503, "server_error", True, False),
    ],
)
def test_each_status_has_its_kind(code: int, kind: str, retryable: bool, spent: bool) -> None:
    with FakeServer(status(code)) as server:
        failed = failure(server)
        assert len(server.chats) == 1  # one attempt is one request
    assert (failed.kind, failed.retryable, failed.spent) == (kind, retryable, spent)
    assert f"no {code}" in failed.detail


def test_an_overlong_prompt_is_known_by_the_message() -> None:
    message = "This model's maximum context length is 2048 tokens. However, you requested 4000"
    with FakeServer(status(400, {"error": {"message": message}})) as server:
        assert failure(server).kind == "overlong"


def test_an_unknown_model_is_told_from_an_unknown_path() -> None:
    body = {"error": {"message": "The model `fake` does not exist."}}
    with FakeServer(status(404, body), status(404, {"detail": "Not Found"})) as server:
        assert failure(server).kind == "unknown_model"
        assert failure(server).kind == "not_openai"


@pytest.mark.parametrize(
    "behaviour",
    [fake.html(), fake.html(404), fake.html(400), status(200, {"ok": True}), status(200, []),
     status(200, {"choices": []}), status(200, {"choices": [None]}), status(200, b"\xff\x00"),
     status(200, {"choices": [{"message": "hi"}]}), status(200, b'{"a":' * 5000)],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_completion_is_not_openai(behaviour: fake.Behaviour, stream: bool) -> None:
    with FakeServer(behaviour) as server:
        failed = failure(server, request(stream=stream))
    assert failed.kind == "not_openai"
    assert not failed.retryable


def test_a_redirect_is_not_followed() -> None:
    with FakeServer(status(307, {}, {"location": "http://elsewhere/"})) as server:
        failed = failure(server)
    assert failed.kind == "not_openai"
    assert "http://elsewhere/" in failed.detail


@pytest.mark.parametrize("behaviour", [fake.drop, fake.cut])
def test_a_broken_connection_can_be_retried(behaviour: fake.Behaviour) -> None:
    with FakeServer(behaviour) as server:
        failed = failure(server)
    assert (failed.kind, failed.retryable, failed.spent) == ("connection", True, True)


@pytest.mark.parametrize("ending", [fake.drop, fake.end_of_stream, fake.error_event])
def test_a_stream_that_breaks_is_no_reply(ending: fake.Behaviour) -> None:
    with FakeServer(fake.stream_then(ending, "half a ")) as server:
        failed = failure(server, request(stream=True))
    assert failed.kind in ("connection", "server_error")
    assert failed.retryable
    assert failed.spent


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_a_reply_the_server_gave_up_on_is_no_reply(reason: str) -> None:
    with FakeServer(says("half", finish_reason=reason)) as server:
        assert failure(server).kind == "server_error"


@pytest.mark.parametrize("stream", [False, True])
def test_an_endless_answer_is_given_up(stream: bool) -> None:
    with FakeServer(fake.flood) as server:
        assert failure(server, request(stream=stream)).kind == "oversized"


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_is_bounded_by_the_tokens_that_it_may_have(stream: bool) -> None:
    async def attempts(endpoint: HttpEndpoint) -> str:
        chat = request(stream=stream, max_tokens=400)
        assert len((await endpoint.attempt(chat, timeout=30)).text) == 300_000
        with pytest.raises(AttemptFailed, match=r"answers more than \d+ ") as caught:
            await endpoint.attempt(request(stream=stream, max_tokens=9), timeout=30)
        return caught.value.kind

    with FakeServer(says("x" * 300_000, pieces=["x" * 3_000] * 100)) as server:
        assert with_endpoint(server, attempts) == "oversized"


@pytest.mark.parametrize(
    ("error", "kind", "retryable", "spent"),
    [
        ({"message": "overloaded, try later", "code": 503}, "server_error", True, False),
        ({"message": "slow down", "code": "429"}, "rate_limited", True, False),
        ({"message": "wrong key", "code": 401}, "unauthorised", False, False),
        ({"message": "broken", "code": "internal"}, "server_error", True, True),
        ("model requires more memory than is available", "server_error", True, True),
        ("the prompt exceeds the maximum context length", "overlong", False, True),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_in_an_answer_with_status_200(
    error: object, kind: str, retryable: bool, spent: bool, stream: bool
) -> None:
    async def event(exchange: fake.Exchange) -> None:
        await exchange.event({"error": error})
        await exchange.raw(b"0\r\n\r\n")

    behaviour = fake.stream_then(event) if stream else status(200, {"error": error})
    with FakeServer(behaviour) as server:
        failed = failure(server, request(stream=stream))
    assert (failed.kind, failed.retryable, failed.spent) == (kind, retryable, spent or stream)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_that_a_filter_stopped_is_a_failure_of_its_own(stream: bool) -> None:
    with FakeServer(says("I can", finish_reason="content_filter")) as server:
        failed = failure(server, request(stream=stream))
    assert (failed.kind, failed.retryable, failed.spent) == ("content_filter", False, True)
    refusal = {"error": {"message": "The prompt was filtered", "code": "content_filter"}}
    with FakeServer(status(400, refusal)) as server:
        assert failure(server).kind == "content_filter"


CALL = {"type": "function", "function": {"name": "answer", "arguments": '{"a":1}'}}
PARTS = [
    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    {"type": "text", "text": '{"a"'},
    {"type": "output_text", "text": ":1}"},
    {"type": "image_url", "image_url": {"url": "x"}},
]


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"content": PARTS}, "hm"),
        ({"content": ['{"a":1}']}, ""),
        ({"content": '{"a":1}', "reasoning_content": "hm"}, "hm"),
        ({"content": None, "tool_calls": [CALL], "reasoning": "hm"}, "hm"),
        ({"content": None, "function_call": CALL["function"]}, ""),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_message_may_have_its_text_elsewhere(
    message: dict[str, object], reasoning: str, stream: bool
) -> None:
    choice = {"message": message, "delta": message, "finish_reason": "stop"}

    async def streamed(exchange: fake.Exchange) -> None:
        await exchange.event({"choices": [choice]})
        await exchange.raw(b"0\r\n\r\n")

    behaviour = fake.stream_then(streamed) if stream else status(200, {"choices": [choice]})
    with FakeServer(behaviour) as server:
        reply = attempt(server, request(stream=stream))
    assert (reply.text, reply.reasoning) == ('{"a":1}', reasoning)


def test_a_server_that_went_away_is_a_failed_connection() -> None:
    with FakeServer() as server:
        url = server.url

    async def ask() -> None:
        endpoint = HttpEndpoint(url)
        endpoint.learn(
            ServerInfo(model="m", max_model_len=None, enforces_schema=True, tokenizes=True)
        )
        assert await endpoint.count_tokens(request().messages, timeout=30) is None
        try:
            await endpoint.attempt(request(), timeout=30)
        finally:
            await endpoint.aclose()

    with pytest.raises(AttemptFailed) as caught:
        asyncio.run(ask())
    assert (caught.value.kind, caught.value.retryable, caught.value.spent) == (
        "connection",
        True,
        False,
    )


def test_a_stale_connection_fails_once_and_the_next_attempt_opens_a_new_one() -> None:
    async def ask_thrice(endpoint: HttpEndpoint) -> list[str]:
        outcomes = []
        for _ in range(3):
            try:
                outcomes.append((await endpoint.attempt(request(), timeout=30)).text)
            except AttemptFailed as failed:
                outcomes.append(failed.kind)
        return outcomes

    with FakeServer(says("one"), fake.drop, says("two")) as server:
        assert with_endpoint(server, ask_thrice) == ["one", "connection", "two"]
        assert server.connections == 2


def test_connections_are_reused() -> None:
    async def ask_often(endpoint: HttpEndpoint) -> None:
        for _ in range(5):
            await endpoint.attempt(request(), timeout=30)

    with FakeServer() as server:
        with_endpoint(server, ask_often)
        assert server.connections == 1


def test_a_slow_server_is_given_up_at_the_deadline_and_hung_up_on() -> None:
    with FakeServer(fake.hang) as server:
        with pytest.raises(AttemptFailed) as caught:
            with_endpoint(server, lambda endpoint: endpoint.attempt(request(), timeout=0.2))
        assert server.hung_up.wait(30)
    assert (caught.value.kind, caught.value.retryable, caught.value.spent) == (
        "timeout",
        True,
        True,
    )


@pytest.mark.parametrize("stream", [False, True])
def test_a_cancelled_attempt_hangs_up(stream: bool) -> None:
    async def cancel(endpoint: HttpEndpoint) -> None:
        task = asyncio.create_task(endpoint.attempt(request(stream=stream), timeout=300))
        while not server.chats:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.hung_up.wait, 30)

    hanging = fake.stream_then(fake.hang, "some ") if stream else fake.hang
    with FakeServer(hanging) as server:
        with_endpoint(server, cancel)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
        ({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, None),
        (
            {
                "retry-after": "Fri, 20 Nov 2026 10:00:30 GMT",
                "date": "Fri, 20 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    with FakeServer(status(429, None, headers)) as server:
        assert failure(server).retry_after == seconds


def test_log_probabilities_come_with_the_tokens_where_they_are_asked_for() -> None:
    token = {"token": "o", "logprob": -0.5, "bytes": [111], "top_logprobs": [
        {"token": "o", "logprob": -0.5}, {"token": "O", "logprob": -1}]}  # fmt: skip
    body = {"choices": [{"message": {"content": "o"}, "logprobs": {"content": [token]}}]}
    with FakeServer(status(200, body)) as server:
        reply = attempt(server, request(logprobs=2))
        assert (server.chats[0]["logprobs"], server.chats[0]["top_logprobs"]) == (True, 2)
        attempt(server)
        assert not {"logprobs", "top_logprobs"} & server.chats[1].keys()
    assert reply.tokens == (ScoredToken(text="o", logprob=-0.5, likely={"o": -0.5, "O": -1}),)


@pytest.mark.parametrize(
    "odd",
    [None, [], "x", {}, {"content": None}, {"content": [None]}, {"content": [{"token": "o"}]},
     {"content": [{"token": "o", "logprob": "-1"}]}, {"content": [{"token": 3, "logprob": -1}]},
     {"content": [{"token": "o", "logprob": -1}, 7]}],
)  # fmt: skip
def test_odd_log_probabilities_are_none(odd: object) -> None:
    body = {"choices": [{"message": {"content": "o"}, "logprobs": odd}]}
    with FakeServer(status(200, body)) as server:
        reply = attempt(server, request(logprobs=2))
    assert (reply.text, reply.tokens) == ("o", ())


def test_a_server_that_refuses_log_probabilities_is_asked_without_them() -> None:
    words = "Requested sample logprobs of 5, which is greater than max allowed: 0"
    refusal = status(400, {"error": {"message": words}})

    async def ask_twice(endpoint: HttpEndpoint) -> tuple[str, ...]:
        with pytest.raises(AttemptFailed) as caught:
            await endpoint.attempt(request(logprobs=5), timeout=30)
        assert caught.value.retryable
        return (await endpoint.attempt(request(logprobs=5), timeout=30)).without

    with FakeServer(refusal, says("ok")) as server:
        assert with_endpoint(server, ask_twice) == ("logprobs", "top_logprobs")


@pytest.mark.parametrize("field", ["cache_salt", "seed", "chat_template_kwargs"])
def test_an_extension_that_is_refused_is_dropped_for_good(field: str) -> None:
    refusal = status(400, {"error": {"message": f"Unrecognized request argument: {field}"}})

    chat = request(seed=1, cache_salt="salt", thinking=False)

    async def ask_thrice(endpoint: HttpEndpoint) -> None:
        with pytest.raises(AttemptFailed) as caught:
            await endpoint.attempt(chat, timeout=30)
        assert caught.value.retryable
        for _ in range(2):
            reply = await endpoint.attempt(chat, timeout=30)
            assert reply.without == (field,)

    with FakeServer(refusal, says("ok")) as server:
        with_endpoint(server, ask_thrice)
        assert [field in body for body in server.chats] == [True, False, False]
        assert len({frozenset(body) for body in server.chats[1:]}) == 1


def test_a_refusal_of_thoughts_is_known_by_the_words_of_several_servers() -> None:
    fastapi = {"detail": [{"loc": ["body", "chat_template_kwargs"], "msg": "Extra inputs"}]}
    words = {"message": "chat_template is not supported for Mistral tokenizers."}
    for refusal in (status(422, fastapi), status(400, words)):
        with FakeServer(refusal, says("ok")) as server:

            async def ask_twice(endpoint: HttpEndpoint) -> tuple[str, ...]:
                with pytest.raises(AttemptFailed):
                    await endpoint.attempt(request(thinking=True), timeout=30)
                return (await endpoint.attempt(request(thinking=True), timeout=30)).without

            assert with_endpoint(server, ask_twice) == ("chat_template_kwargs",)


def test_a_field_is_only_missed_where_it_belongs() -> None:
    refusal = status(400, {"error": {"message": "Unrecognized request argument: seed"}})

    async def ask_twice(endpoint: HttpEndpoint) -> None:
        with pytest.raises(AttemptFailed):
            await endpoint.attempt(request(seed=1), timeout=30)
        assert (await endpoint.attempt(request(seed=1), timeout=30)).without == ("seed",)
        assert (await endpoint.attempt(request(), timeout=30)).without == ()

    with FakeServer(refusal, says("ok")) as server:
        with_endpoint(server, ask_twice)


def test_secrets_that_a_server_echoes_are_taken_out() -> None:
    body = {"error": {"message": "Incorrect key sk-geheim for salt s4lz"}}
    with FakeServer(status(403, body)) as server:
        failed = failure(server, request(cache_salt="s4lz"), api_key="sk-geheim")
    assert failed.detail == "HTTP 403: Incorrect key *** for salt ***"
    assert "geheim" not in str(failed)


# Start-up


def test_the_first_model_is_taken_and_its_window() -> None:
    with FakeServer() as server:
        info = with_endpoint(server, lambda endpoint: endpoint.info())
        assert (info.model, info.max_model_len, info.tokenizes) == ("fake", 4096, False)
        assert info.enforces_schema is None
        assert [seen.path for seen in server.requests] == ["/v1/models", "/tokenize"]


def test_a_server_without_a_list_is_believed_to_have_the_model_named() -> None:
    with FakeServer(models=status(404, {"detail": "Not Found"})) as server:
        info = with_endpoint(server, lambda endpoint: endpoint.info(), model="mine")
    assert (info.model, info.max_model_len) == ("mine", None)


def test_tokens_are_counted_by_the_server_that_can() -> None:
    async def count(endpoint: HttpEndpoint) -> tuple[bool, int | None]:
        messages = [Message(role="user", content="one two"), Message(role="user", content="x")]
        tokens = await endpoint.count_tokens(messages, timeout=30)
        return (await endpoint.info()).tokenizes, tokens

    with FakeServer(tokenize=len) as server:
        assert with_endpoint(server, count) == (True, 16)
    with FakeServer() as server:
        assert with_endpoint(server, count) == (False, None)


def test_a_count_that_is_none_is_not_believed() -> None:
    with FakeServer(tokenize=lambda text: -100) as server:
        assert not with_endpoint(server, lambda endpoint: endpoint.info()).tokenizes


def test_an_address_without_a_model_server_is_an_error() -> None:
    with FakeServer() as server:
        url = server.url

    async def ask() -> None:
        endpoint = HttpEndpoint(url)
        try:
            await endpoint.info()
        finally:
            await endpoint.aclose()

    with pytest.raises(ModelError, match=r"No model server answers at .*: start it"):
        asyncio.run(ask())


def test_a_server_that_is_something_else() -> None:
    with FakeServer(models=fake.html()) as server:
        assert "is no OpenAI-compatible server" in complaint(server)


def test_a_server_that_fails() -> None:
    with FakeServer(models=status(500)) as server:
        assert "fails with HTTP 500 (no 500): look at its log" in complaint(server)


def test_a_wrong_key() -> None:
    with FakeServer(api_key="right") as server:
        message = complaint(server, api_key="geheim")
    assert "refuses the API key" in message
    assert "geheim" not in message


def test_a_model_that_is_not_served() -> None:
    with FakeServer() as server:
        message = complaint(server, model="other")
    assert "serves no model 'other': it has ['fake']" in message


def test_a_server_with_no_model() -> None:
    with FakeServer(models=status(200, {"data": []})) as server:
        assert "lists no model" in complaint(server)


# The wire


async def read_events(pieces: Iterable[bytes], on_delta: Callable[[str], None]) -> ChatReply:
    """The reply of a stream that comes in these pieces."""

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    answer = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=body())
    return await http._read_events(answer, "m", on_delta)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_the_specification_says_and_data_may_have_several(end: str) -> None:
    lines = (
        'data: {"choices":[{"delta":',
        'data: {"content":"A\u0085B"},"finish_reason":"stop"}]}',
        "",
        "data: [DONE]",
        "",
    )
    stream = "".join(line + end for line in lines).encode()
    reply = asyncio.run(read_events([stream], lambda _: None))
    assert (reply.text, reply.finish_reason) == ("A\u0085B", "stop")


def test_a_stream_without_an_end_is_given_up() -> None:
    with pytest.raises(AttemptFailed, match="answers more than"):
        asyncio.run(read_events((b"data: " + b"x" * 2**20 for _ in range(17)), lambda _: None))


def test_a_line_in_many_pieces_is_put_together_once() -> None:
    line = b"data: " + b"x" * 50_000

    async def body() -> AsyncIterator[bytes]:
        for byte in line + b"\n\n: ping\r\rdata: y":
            yield bytes([byte])

    async def handed() -> list[str]:
        answer = httpx.Response(200, content=body())
        return [text async for text in http.BoundedText(answer, 10**6).aiter_text()]

    pieces = asyncio.run(handed())
    assert len(pieces) == 5  # one a line end, and the rest
    assert len("".join(pieces)) == len(line) + len("\n\n: ping\r\rdata: y\n\n")


def test_events_may_be_cut_anywhere() -> None:
    stream = (
        'data: {"choices":[{"delta":{"content":"é\u2028"}}]}\r\n\r\n'
        ": ping\n\n"
        'data:{"choices":[{"delta":{"content":"!"},"finish_reason":"stop"}]}\n\n'
        'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n'
        "data: [DONE]"
    ).encode()
    for size in range(1, len(stream) + 1):
        deltas: list[str] = []
        pieces = (stream[start : start + size] for start in range(0, len(stream), size))
        reply = asyncio.run(read_events(pieces, deltas.append))
        assert (reply.text, reply.finish_reason, reply.model) == ("é\u2028!", "stop", "m")
        assert reply.usage == ReportedUsage(prompt_tokens=1, completion_tokens=2)
        assert deltas == ["é\u2028", "!"]


def test_a_message_is_short_and_on_one_line() -> None:
    message = wire.message_of(b'{"error":{"message":"a\\nb\\u001b[31m' + b"x" * 900 + b'"}}')
    assert message.startswith("a b [31mxxx")
    assert len(message) <= 200
    assert wire.message_of(b"") == "nothing"


def test_the_time_a_hanging_list_may_take_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hoptrail.agents.llm.http._INFO_TIMEOUT", 0.2)
    began = time.monotonic()
    with FakeServer(models=fake.hang) as server:
        assert "no answer within 0.2 s" in complaint(server)
    assert time.monotonic() - began < 30
