"""The scripted server behaves as a server does where callers could tell."""

from __future__ import annotations

import asyncio

import pytest

from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm.scripted import ScriptedEndpoint, doubled
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    Message,
    ServerInfo,
    bound_tokens,
)
from hoptrail.rag.text.tokens import count_tokens

MESSAGES = (Message(role="user", content="Which ship sailed first?"),)


def request(name: str = "plan", **fields: object) -> ChatRequest:
    defaults: dict[str, object] = {
        "messages": MESSAGES,
        "schema": None,
        "schema_name": name,
        "max_tokens": 20,
    }
    return ChatRequest(**{**defaults, **fields})  # type: ignore[arg-type]


def say(endpoint: ScriptedEndpoint, chat: ChatRequest | None = None) -> ChatReply:
    return asyncio.run(endpoint.attempt(chat or request(), timeout=1))


def test_a_scripted_endpoint_keeps_the_protocol() -> None:
    assert isinstance(ScriptedEndpoint(), Endpoint)


def test_lines_are_played_in_order_and_requests_kept() -> None:
    reply = ChatReply(text="whole", finish_reason="stop", usage=None, model="m")
    endpoint = ScriptedEndpoint(["one", reply, lambda chat: chat.messages[0].content])
    assert say(endpoint).text == "one"
    assert say(endpoint) is reply
    assert say(endpoint).text == MESSAGES[0].content
    assert endpoint.requests == [request()] * 3
    with pytest.raises(AssertionError, match="script has ended, but 'plan' was asked"):
        say(endpoint)


def test_a_scripted_failure_is_raised() -> None:
    endpoint = ScriptedEndpoint([AttemptFailed("rate_limited", "later", retryable=True)])
    with pytest.raises(AttemptFailed, match="later"):
        say(endpoint)


def test_each_schema_may_have_its_own_script() -> None:
    endpoint = ScriptedEndpoint(
        lambda chat: "for all others", by_schema={"plan": ["p1", "p2"], "answer": lambda chat: "a"}
    )
    said = [say(endpoint, request(name)).text for name in ("plan", "x", "plan", "answer", "answer")]
    assert said == ["p1", "for all others", "p2", "a", "a"]


def test_usage_is_honest_unless_it_lies() -> None:
    honest = say(ScriptedEndpoint(["a short reply"])).usage
    assert honest == ReportedUsage(
        prompt_tokens=count_tokens(MESSAGES[0].content) + 4,
        completion_tokens=count_tokens("a short reply"),
    )
    lie = ReportedUsage(prompt_tokens=-1, completion_tokens=0)
    assert say(ScriptedEndpoint(["x"], usage=lambda honest: lie)).usage == lie
    assert say(ScriptedEndpoint(["x"], usage=lambda honest: None)).usage is None


def test_a_long_reply_is_cut_and_says_so() -> None:
    reply = say(ScriptedEndpoint(["word " * 500]))
    assert reply.finish_reason == "length"
    assert reply.usage is not None
    assert 0 < reply.usage.completion_tokens <= 20


def test_a_prompt_beyond_the_window_is_refused() -> None:
    endpoint = ScriptedEndpoint(["x"], max_model_len=25)
    with pytest.raises(AttemptFailed) as caught:
        say(endpoint)
    assert caught.value.kind == "overlong"
    assert say(endpoint, request(max_tokens=5)).text == "x"


def test_a_doubling_tokenizer_stays_below_the_bound() -> None:
    endpoint = ScriptedEndpoint(["x"], count=doubled, tokenizes=True)
    counted = asyncio.run(endpoint.count_tokens(MESSAGES, timeout=1))
    assert counted == 2 * count_tokens(MESSAGES[0].content) + 4
    assert counted <= bound_tokens(MESSAGES)
    assert asyncio.run(ScriptedEndpoint().count_tokens(MESSAGES, timeout=1)) is None


def test_deltas_make_up_the_text_and_only_when_streamed() -> None:
    deltas: list[str] = []
    text = "a text of some length, é\u2028"
    endpoint = ScriptedEndpoint([text, text])
    streamed = request(stream=True)
    asyncio.run(endpoint.attempt(streamed, timeout=1, on_delta=deltas.append))
    assert "".join(deltas) == text
    assert len(deltas) > 1
    asyncio.run(endpoint.attempt(request(), timeout=1, on_delta=deltas.append))
    assert "".join(deltas) == text


def test_a_scripted_endpoint_learns_and_closes() -> None:
    endpoint = ScriptedEndpoint(enforces_schema=None)
    info = ServerInfo(model="m", max_model_len=9, enforces_schema=False, tokenizes=False)
    endpoint.learn(info)
    assert asyncio.run(endpoint.info()) == info
    asyncio.run(endpoint.aclose())
    assert endpoint.closed
