# ruff: noqa: ANN401 - a scene passes on whatever keywords a test names
"""Asking a role's question: what is re-asked, given up, and what it may cost."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import chat_server as fake_server
from support.chat_server import FakeServer, says, status
from support.client import FORM, GOOD, PROMPT, STEP, Scene, SleepClock, failed

from hoptrail.agents.budget.ledger import Budget, Ledger, OutOfBudget, Usage
from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm.client import LLMClient, LLMResult
from hoptrail.agents.llm.http import HttpEndpoint
from hoptrail.agents.llm.reply_schema import text_reply
from hoptrail.agents.llm.retry import RetryingEndpoint, Sampling
from hoptrail.agents.llm.scripted import ScriptedEndpoint, doubled
from hoptrail.agents.llm.types import (
    AttemptFailed,
    ChatReply,
    ChatRequest,
    Endpoint,
    FailureKind,
    Message,
    bound_tokens,
)
from hoptrail.prompts.loader import Rendered
from hoptrail.rag.errors import ModelError
from hoptrail.rag.text.tokens import count_tokens

# A reply that can be used


def test_a_good_reply_is_one_call() -> None:
    endpoint = ScriptedEndpoint([GOOD])
    scene = Scene(endpoint)
    asked = scene.ask(sampling=Sampling(temperature=0.3, seed=0))
    assert asked.value == STEP
    assert asked.failure is None
    assert (asked.attempts, asked.re_asks, asked.problems) == (1, 0, ())
    assert (asked.model, asked.prompt_hash) == ("scripted", "h")
    assert asked.usage == scene.ledger.spent()
    (request,) = endpoint.requests
    assert (request.schema, request.schema_name) == (FORM.schema, "Step")
    assert (request.temperature, request.seed, request.stream) == (0.3, 0, False)


def test_a_reply_that_cannot_be_read_is_asked_for_once_more_with_the_reason() -> None:
    endpoint = ScriptedEndpoint(['{"query":"x","sure":"perhaps"}', GOOD])
    asked = Scene(endpoint).ask()
    assert asked.value == STEP
    assert (asked.attempts, asked.re_asks) == (2, 1)
    (problem,) = asked.problems
    assert "sure: " in problem
    *before, quoted, complaint = endpoint.requests[1].messages
    assert tuple(before) == endpoint.requests[0].messages
    assert (quoted.role, quoted.content) == ("assistant", '{"query":"x","sure":"perhaps"}')
    assert complaint.role == "user"
    assert problem in complaint.content


def test_there_is_one_re_ask_only() -> None:
    endpoint = ScriptedEndpoint(["prose", "more prose", GOOD])
    asked = Scene(endpoint).ask()
    assert (asked.value, asked.failure, asked.attempts, asked.re_asks) == (None, "parse", 2, 1)
    assert len(asked.problems) == 2


def test_a_reply_that_was_cut_off_is_never_read_as_whole() -> None:
    cut = ChatReply(text=GOOD, finish_reason="length", usage=None, model="m")
    endpoint = ScriptedEndpoint([cut, cut])
    asked = Scene(endpoint).ask()
    assert (asked.value, asked.failure) == (None, "length")
    assert "cut off" in endpoint.requests[1].messages[-1].content


def test_a_long_bad_reply_is_quoted_in_part() -> None:
    text = "no " * 5_000
    endpoint = ScriptedEndpoint(
        [ChatReply(text=text, finish_reason="stop", usage=None, model="m"), GOOD]
    )
    assert Scene(endpoint).ask().value == STEP
    assert len(endpoint.requests[1].messages[-2].content) == 2_000


# What it costs


def test_a_failure_that_cost_nothing_is_a_call_without_tokens() -> None:
    scene = Scene(ScriptedEndpoint([failed("unauthorised", spent=False)]))
    asked = scene.ask()
    assert asked.usage == Usage(calls=1)
    assert scene.ledger.flags == ()


def test_a_failure_that_may_have_cost_something_counts_whole() -> None:
    scene = Scene(ScriptedEndpoint([failed("server_error", spent=True)]), retries=0)
    usage = scene.ask().usage
    assert (usage.calls, usage.completion_tokens) == (1, 60)
    assert usage.prompt_tokens >= bound_tokens([])


@pytest.mark.parametrize(
    "lie",
    [None, ReportedUsage(prompt_tokens=-5, completion_tokens=-5),
     ReportedUsage(prompt_tokens=10**12, completion_tokens=0)],
)  # fmt: skip
def test_a_server_that_lies_about_usage_is_flagged(lie: ReportedUsage | None) -> None:
    scene = Scene(ScriptedEndpoint([GOOD], usage=lambda honest: lie))
    asked = scene.ask()
    assert asked.value == STEP
    assert asked.usage.completion_tokens == 60
    assert [flag.node for flag in scene.ledger.flags] == ["plan"]


@pytest.mark.parametrize("tokenizes", [True, False])
def test_a_tokenizer_that_doubles_tiktokens_count_is_within_what_was_reserved(
    tokenizes: bool,
) -> None:
    texts = ["Which ship sailed first? " * 40, "É\u2028 漢字かな交じり文 🚢🚢 " * 30, "a1!{}" * 50]
    for text in texts:
        prompt = Rendered(name="p", messages=(("system", "s"), ("user", text)), hash="h")
        scene = Scene(ScriptedEndpoint([GOOD], count=doubled, tokenizes=tokenizes))
        asked = scene.ask(prompt=prompt)
        assert asked.value == STEP
        assert scene.ledger.flags == ()
        assert asked.usage.prompt_tokens >= 2 * count_tokens(text)


def test_the_reply_is_cut_to_the_tokens_left() -> None:
    endpoint = ScriptedEndpoint([GOOD], tokenizes=True)
    room = 30
    prompt_tokens = asyncio.run(endpoint.count_tokens(_messages(), timeout=1))
    assert prompt_tokens is not None
    Scene(endpoint, Budget(tokens=prompt_tokens + 8 + room)).ask()
    assert endpoint.requests[0].max_tokens == room


def test_too_little_for_a_reply_is_a_stop_and_costs_nothing() -> None:
    endpoint = ScriptedEndpoint([GOOD], tokenizes=True)
    scene = Scene(endpoint, Budget(tokens=30))
    with pytest.raises(OutOfBudget) as out:
        scene.ask()
    assert out.value.stop == "out_of_tokens"
    assert endpoint.requests == []
    assert scene.ledger.spent() == Usage()


def test_a_budget_that_ends_on_the_way_says_what_was_spent() -> None:
    scene = Scene(ScriptedEndpoint(["prose", GOOD]), Budget(calls=1))
    with pytest.raises(OutOfBudget) as out:
        scene.ask()
    assert out.value.stop == "out_of_calls"
    assert out.value.usage == scene.ledger.spent()
    assert out.value.usage.calls == 1


def test_a_share_bounds_what_is_asked_under_it() -> None:
    scene = Scene(ScriptedEndpoint([failed("server_error"), GOOD]), Budget(calls=2))
    share, _ = scene.ledger.divide(2)
    with pytest.raises(OutOfBudget) as out:
        scene.ask(share=share)
    assert out.value.stop == "out_of_calls"
    assert scene.ledger.left().calls == 1


def test_a_call_that_runs_into_the_deadline_is_out_of_time() -> None:
    class Slow(ScriptedEndpoint):
        async def attempt(self, request: ChatRequest, *, timeout: float, **_: Any) -> ChatReply:
            self.requests.append(request)
            scene.time.now += timeout
            raise failed("timeout", spent=True)

    endpoint = Slow()
    scene = Scene(endpoint, Budget(seconds=90.0))
    assert scene.ask().failure == "too_slow"
    with pytest.raises(OutOfBudget) as out:
        scene.ask()
    assert out.value.stop == "out_of_time"
    assert len(endpoint.requests) == 2  # its own timeout, then what was left of 90
    assert scene.ledger.spent().seconds == 90.0


def test_after_the_deadline_nothing_starts() -> None:
    endpoint = ScriptedEndpoint([GOOD])
    scene = Scene(endpoint, Budget(seconds=5))
    scene.time.now += 5
    with pytest.raises(OutOfBudget) as out:
        scene.ask()
    assert out.value.stop == "out_of_time"
    assert endpoint.requests == []


def test_a_cancelled_call_counts_whole_and_nothing_stays_open(tmp_path: Path) -> None:
    class Hanging(ScriptedEndpoint):
        async def attempt(self, request: ChatRequest, **_: Any) -> ChatReply:
            asked.set()
            await asyncio.sleep(3600)
            raise AssertionError("unreachable")

    asked = asyncio.Event()

    async def main() -> None:
        ledger = Ledger.open(tmp_path / "ledger", Budget())
        asker = LLMClient(RetryingEndpoint(Hanging(), ledger))
        await asker.prepare()
        task = asyncio.create_task(asker.ask(node="plan", prompt=PROMPT, form=FORM, max_tokens=60))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ledger.spent().completion_tokens == 60
        ledger.close()

    asyncio.run(main())
    lines = [json.loads(line) for line in (tmp_path / "ledger").read_text().splitlines()]
    assert [line["op"] for line in lines] == ["open", "reserve", "settle", "tick"]


def test_parallel_asks_stay_within_the_budget() -> None:
    async def main() -> tuple[list[object], Usage]:
        ledger = Ledger.open(None, Budget(calls=5))
        asker = LLMClient(RetryingEndpoint(ScriptedEndpoint(lambda request: GOOD), ledger))
        await asker.prepare()
        asks = [asker.ask(node="plan", prompt=PROMPT, form=FORM, max_tokens=60) for _ in range(9)]
        return await asyncio.gather(*asks, return_exceptions=True), ledger.spent()

    results, spent = asyncio.run(main())
    assert spent.calls == 5
    assert sum(isinstance(one, LLMResult) and one.value == STEP for one in results) == 5
    assert sum(isinstance(one, OutOfBudget) for one in results) == 4


# Streaming


def test_text_that_turned_out_void_is_taken_back() -> None:
    heard: list[str | None] = []
    Scene(ScriptedEndpoint(["prose", GOOD])).ask(on_delta=heard.append)
    assert heard.count(None) == 1
    at = heard.index(None)
    assert "".join(filter(None, heard[:at])) == "prose"
    assert "".join(filter(None, heard[at:])) == GOOD


@pytest.mark.parametrize("budget", [Budget(), Budget(calls=1)])
def test_after_a_failure_nothing_heard_stands(budget: Budget) -> None:
    heard: list[str | None] = []
    scene = Scene(ScriptedEndpoint(["prose", "prose"]), budget)
    try:
        assert scene.ask(on_delta=heard.append).failure == "parse"
    except OutOfBudget:
        assert budget.calls == 1
    assert heard[-1] is None


# Windows


def test_a_prompt_known_to_be_overlong_is_not_sent() -> None:
    endpoint = ScriptedEndpoint([GOOD], tokenizes=True, max_model_len=20)
    asked = Scene(endpoint).ask()
    assert (asked.failure, asked.attempts) == ("overlong", 0)
    assert endpoint.requests == []


def test_only_the_server_can_say_that_a_bound_in_bytes_is_overlong() -> None:
    endpoint = ScriptedEndpoint([GOOD], max_model_len=40)
    asked = Scene(endpoint).ask()
    assert asked.value == STEP
    assert endpoint.requests[0].max_tokens == 16  # the least
    assert Scene(ScriptedEndpoint([GOOD], max_model_len=20)).ask().failure == "overlong"


def test_a_re_ask_that_no_longer_fits_keeps_the_first_failure() -> None:
    endpoint = ScriptedEndpoint(["prose " * 20], tokenizes=True, max_model_len=60)
    asked = Scene(endpoint).ask(max_tokens=30)
    assert (asked.failure, asked.attempts) == ("parse", 1)


def fit(endpoint: Endpoint, blocks: Sequence[str], **changes: Any) -> Any:
    scene = Scene(endpoint, changes.pop("budget", None))

    def render(chosen: Sequence[str]) -> Rendered:
        return replace(PROMPT, messages=(("system", "s"), ("user", "\n".join(chosen))))

    async def main() -> Any:
        await scene.asker.prepare()
        return await scene.asker.fit(
            render, blocks, form=text_reply("answer"), max_tokens=50, **changes
        )

    return asyncio.run(main())


BLOCKS = ["word " * 60, "word " * 900, "word " * 60, "word " * 60]


def test_all_blocks_are_kept_when_they_fit() -> None:
    fitted = fit(ScriptedEndpoint(max_model_len=4_000, tokenizes=True), BLOCKS)
    assert (fitted.kept, fitted.left_out) == ((0, 1, 2, 3), ())


def test_a_block_that_does_not_fit_is_left_out_and_later_ones_are_tried() -> None:
    endpoint = ScriptedEndpoint(max_model_len=200, tokenizes=True)
    fitted = fit(endpoint, BLOCKS)
    assert (fitted.kept, fitted.left_out) == ((0, 2), (1, 3))
    assert fitted.prompt.messages[1][1] == f"{BLOCKS[0]}\n{BLOCKS[2]}"
    messages = _messages(fitted.prompt)
    count = asyncio.run(endpoint.count_tokens(messages, timeout=1))
    assert count is not None
    assert count + 8 + 50 <= 200


def test_what_is_left_of_the_budget_bounds_a_prompt_too() -> None:
    endpoint = ScriptedEndpoint(tokenizes=True)
    assert fit(endpoint, BLOCKS, budget=Budget(tokens=140)).kept == (0,)
    assert fit(endpoint, BLOCKS, budget=Budget(tokens=10)).kept == ()


def test_without_a_tokenizer_bytes_bound_a_prompt() -> None:
    fitted = fit(ScriptedEndpoint(max_model_len=1_000), BLOCKS)
    assert fitted.kept == (0, 2)
    assert bound_tokens(_messages(fitted.prompt)) + 50 <= 1_000


class Counting(ScriptedEndpoint):
    """A server that tokenizes, and how often it was asked to."""

    counts = 0

    async def count_tokens(self, messages: Sequence[Message], *, timeout: float) -> int | None:
        self.counts += 1
        return await super().count_tokens(messages, timeout=timeout)


def uneven(text: str) -> int:
    """A tokenizer that counts a byte a token where tiktoken has whole words, else as it does."""
    return count_tokens(text) + 4 * text.count("é")


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(
        st.tuples(st.integers(0, 90), st.sampled_from(["word ", "é", "漢字", "{}!1"])), max_size=40
    ),
    room=st.integers(60, 4_000),
    count=st.sampled_from([count_tokens, doubled, uneven, len]),
)
def test_a_prompt_is_fitted_with_few_counts_and_always_fits(
    sizes: list[tuple[int, str]], room: int, count: Callable[[str], int]
) -> None:
    blocks = [word * size for size, word in sizes]
    endpoint = Counting(tokenizes=True, max_model_len=room, count=count)
    fitted = fit(endpoint, blocks)
    assert endpoint.counts <= 4
    assert sorted((*fitted.kept, *fitted.left_out)) == list(range(len(blocks)))
    tokens = asyncio.run(endpoint.count_tokens(_messages(fitted.prompt), timeout=1))
    assert tokens is not None
    assert not fitted.kept or tokens + 50 <= room
    if fitted.tokens is not None:
        assert fitted.tokens == tokens + 8


def test_a_fitted_prompt_fills_the_room_and_is_not_counted_again() -> None:
    endpoint = Counting([GOOD], tokenizes=True, max_model_len=1_000, count=doubled)
    blocks = [f"{number} " + "word " * 30 for number in range(40)]
    scene = Scene(endpoint)

    async def main() -> LLMResult[Any]:
        await scene.asker.prepare()
        fitted = await scene.asker.fit(
            lambda chosen: replace(PROMPT, messages=(("user", "".join(chosen)),)),
            blocks,
            form=FORM,
            max_tokens=60,
        )
        assert 13 <= len(fitted.kept) <= 14  # of 66 tokens each
        return await scene.asker.ask(node="n", prompt=fitted, form=FORM, max_tokens=60)

    assert asyncio.run(main()).value == STEP
    assert endpoint.counts <= 4


def test_the_longest_prompt_that_fits_is_found_with_few_counts() -> None:
    prompts = [
        replace(PROMPT, messages=(("user", "word " * length),)) for length in range(900, 0, -10)
    ]
    endpoint = Counting(tokenizes=True, max_model_len=400, count=doubled)
    scene = Scene(endpoint)

    async def main() -> Rendered:
        await scene.asker.prepare()
        return (await scene.asker.longest(iter(prompts), form=FORM, max_tokens=60)).prompt

    found = asyncio.run(main())
    assert endpoint.counts <= 4
    words = found.messages[0][1].count("word")
    assert 140 <= words <= 164  # 2 tokens a word, and the template


# Starting up


def test_a_server_that_enforces_schemas_is_found_out_once() -> None:
    endpoint = ScriptedEndpoint(['{"word":"qzv7kx"}', GOOD, GOOD], enforces_schema=None)
    scene = Scene(endpoint)
    assert scene.ask().value == STEP
    assert scene.ledger.spent().calls == 2  # the probe is a call like any other
    assert Scene(endpoint).ask().value == STEP
    probe, *asks = endpoint.requests
    assert probe.schema is not None
    assert "qzv7kx" not in probe.messages[0].content
    assert all(request.schema == FORM.schema for request in asks)


@pytest.mark.parametrize(
    "said", ["The sky is blue.", "{", '{"word":"blue"}', failed("bad_request")]
)
def test_a_server_that_enforces_no_schemas_is_told_the_schema_in_words(said: Any) -> None:
    free = ["It is blue."] if isinstance(said, AttemptFailed) else []
    endpoint = ScriptedEndpoint([said, *free, f"Sure! {GOOD}"], enforces_schema=None)
    scene = Scene(endpoint)
    assert scene.ask().value == STEP
    assert not scene.asker.server.enforces_schema
    last = endpoint.requests[-1]
    assert last.schema is None
    assert last.messages[0].content == "Plan."
    assert last.messages[1].content.startswith("Who?\n\n")
    assert json.dumps(FORM.schema, separators=(",", ":")) in last.messages[1].content


def test_free_text_needs_no_schema_in_words() -> None:
    endpoint = ScriptedEndpoint(["yes"], enforces_schema=False)
    assert Scene(endpoint).ask(form=text_reply("answer")).value == "yes"
    assert endpoint.requests[0].messages[1].content == "Who?"


@pytest.mark.parametrize(
    "script",
    [
        lambda request: failed("server_error"),
        lambda request: failed("unauthorised"),
        lambda request: failed("bad_request"),
    ],
)
def test_a_server_that_cannot_even_be_probed_is_the_users_to_mend(
    script: Callable[[ChatRequest], AttemptFailed],
) -> None:
    with pytest.raises(ModelError, match=r"does not answer: .*Look at its log"):
        Scene(ScriptedEndpoint(script, enforces_schema=None)).ask()


@pytest.mark.parametrize("budget", [Budget(calls=1), Budget(calls=0), Budget(tokens=50)])
def test_a_budget_too_small_for_a_probe_is_not_spent_on_one(budget: Budget) -> None:
    endpoint = ScriptedEndpoint([GOOD], enforces_schema=None)
    scene = Scene(endpoint, budget)
    info = asyncio.run(scene.asker.prepare())
    assert info.enforces_schema is None
    assert endpoint.requests == []
    assert scene.ledger.spent() == Usage()


def test_asking_before_preparing_is_a_bug() -> None:
    asker = LLMClient(RetryingEndpoint(ScriptedEndpoint(), Ledger.open(None, Budget())))
    with pytest.raises(AssertionError, match="prepare"):
        asyncio.run(asker.ask(node="n", prompt=PROMPT, form=FORM, max_tokens=9))


# Over HTTP


def ask_over_http(
    server: FakeServer, budget: Budget | None = None, **changes: Any
) -> LLMResult[Any]:
    time = SleepClock()

    async def main() -> LLMResult[Any]:
        endpoint = HttpEndpoint(server.url)
        try:
            ledger = Ledger.open(None, budget or Budget())
            asker = LLMClient(RetryingEndpoint(endpoint, ledger, sleep=time.sleep))
            await asker.prepare()
            return await asker.ask(node="plan", prompt=PROMPT, form=FORM, max_tokens=60, **changes)
        finally:
            await endpoint.aclose()

    return asyncio.run(main())


PROBED = says('{"word":"qzv7kx"}')


@pytest.mark.parametrize(
    "trouble",
    [
        fake_server.drop,
        fake_server.cut,
        status(429, None, {"retry-after": "3"}),
        status(500),
        status(503),
        fake_server.html(502),
    ],
)
def test_over_http_passing_trouble_is_survived(trouble: fake_server.Behaviour) -> None:
    with FakeServer(PROBED, trouble, says(GOOD)) as server:
        asked = ask_over_http(server)
    assert (asked.value, asked.attempts) == (STEP, 2)


@pytest.mark.parametrize(
    ("answer", "failure", "attempts"),
    [
        (status(400), "refused_by_server", 1),
        (status(401), "refused_by_server", 1),
        (status(422), "refused_by_server", 1),
        (fake_server.html(), "refused_by_server", 1),
        (status(500), "unavailable", 4),
        (fake_server.drop, "unavailable", 4),
        (says("I would rather talk about the weather."), "parse", 2),
        (says(GOOD[:-5], finish_reason="length"), "length", 2),
        (says("x" * 200_000), "length", 1),
        (says(GOOD, finish_reason="content_filter"), "content_filter", 1),
        (status(200, {"error": {"message": "later", "code": 503}}), "unavailable", 4),
        (status(200, {"error": {"message": "no", "code": 401}}), "refused_by_server", 1),
    ],
)
def test_over_http_lasting_trouble_is_a_typed_failure(
    answer: fake_server.Behaviour, failure: str, attempts: int
) -> None:
    with FakeServer(PROBED, answer) as server:
        asked = ask_over_http(server)
    assert (asked.value, asked.failure, asked.attempts) == (None, failure, attempts)


def test_over_http_a_slow_server_ends_in_out_of_time() -> None:
    with FakeServer(PROBED, fake_server.hang) as server:
        with pytest.raises(OutOfBudget) as out:
            ask_over_http(server, Budget(seconds=1.5))
        assert server.hung_up.wait(30)
    assert out.value.stop == "out_of_time"


def test_over_http_streamed_equals_whole() -> None:
    heard: list[str | None] = []
    with FakeServer(PROBED, says(GOOD)) as server:
        streamed = ask_over_http(server, on_delta=heard.append)
        whole = ask_over_http(server)
    assert streamed.value == whole.value == STEP
    assert replace(streamed.usage, seconds=0.0) == replace(whole.usage, seconds=0.0)
    assert "".join(filter(None, heard)) == GOOD


# Whatever happens

usages = st.none() | st.builds(
    ReportedUsage,
    prompt_tokens=st.integers(-5, 600) | st.integers(),
    completion_tokens=st.integers(-5, 600) | st.integers(),
)
replies = st.builds(
    ChatReply,
    text=st.sampled_from([GOOD, "{}", "", '{"query":']) | st.text(max_size=40),
    finish_reason=st.sampled_from(["stop", "length", "odd"]),
    usage=usages,
    model=st.just("m"),
)
kinds: st.SearchStrategy[FailureKind] = st.sampled_from(
    ["connection", "timeout", "rate_limited", "server_error", "bad_request", "overlong"]
)
failures = st.builds(
    AttemptFailed,
    kinds,
    st.text(max_size=9),
    retryable=st.booleans(),
    retry_after=st.none() | st.floats(0, 50),
    spent=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(replies | failures, min_size=1, max_size=12),
    budget=st.builds(
        Budget,
        calls=st.integers(0, 8),
        tokens=st.integers(0, 3_000),
        seconds=st.floats(0.1, 60),
    ),
    asks=st.integers(1, 4),
    tokenizes=st.booleans(),
    takes=st.floats(0, 40),
)
def test_whatever_a_server_does_asking_ends_within_the_budget(
    lines: list[ChatReply | AttemptFailed],
    budget: Budget,
    asks: int,
    tokenizes: bool,
    takes: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    time = SleepClock()
    turn = iter(range(10**6))

    class Odd(ScriptedEndpoint):
        async def attempt(self, request: ChatRequest, *, timeout: float, **_: Any) -> ChatReply:
            if takes > timeout:
                time.now += timeout
                raise failed("timeout", spent=True)
            time.now += takes
            line = lines[next(turn) % len(lines)]
            if isinstance(line, AttemptFailed):
                raise line
            return line

    path = tmp_path_factory.mktemp("asking") / "ledger"
    endpoint = Odd(tokenizes=tokenizes)

    async def main() -> None:
        ledger = Ledger.open(path, budget, time)
        asker = LLMClient(
            RetryingEndpoint(endpoint, ledger, sleep=time.sleep, rng=random.Random(0))
        )
        await asker.prepare()
        total = Usage()
        for _ in range(asks):
            try:
                asked = await asker.ask(node="n", prompt=PROMPT, form=FORM, max_tokens=60)
            except OutOfBudget as out:
                total += out.usage
            else:
                assert (asked.value is None) == (asked.failure is not None)
                total += asked.usage
        spent = ledger.spent()
        ledger.close()
        assert replace(total, seconds=0.0) == replace(spent, seconds=0.0)
        assert spent.calls <= budget.calls
        if not any("above" in flag.reason for flag in ledger.flags):
            assert spent.tokens <= budget.tokens
        assert spent.seconds <= budget.seconds + 1e-6
        resumed = Ledger.open(path, budget, SleepClock())
        assert resumed.spent().calls >= spent.calls
        assert resumed.spent().tokens >= spent.tokens
        resumed.close()

    asyncio.run(main())


def _messages(prompt: Rendered = PROMPT) -> list[Any]:
    return [Message(role=role, content=content) for role, content in prompt.messages]
