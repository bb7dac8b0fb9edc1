"""Attempts of one request: what is tried again, after what wait, and what is given up."""

from __future__ import annotations

from typing import Any

import pytest
from support.client import GOOD, STEP, Scene, failed

from hoptrail.agents.budget.ledger import Budget
from hoptrail.agents.llm.retry import RetryingEndpoint
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatReply, ChatRequest, FailureKind


@pytest.mark.parametrize("kind", ["connection", "rate_limited", "server_error"])
def test_what_may_pass_is_tried_again(kind: FailureKind) -> None:
    scene = Scene(ScriptedEndpoint([failed(kind), failed(kind), failed(kind), GOOD]))
    asked = scene.ask()
    assert (asked.value, asked.attempts, asked.re_asks) == (STEP, 4, 0)
    assert scene.ledger.spent().calls == 4
    first, *later = [0.0, *scene.time.slept] if kind == "connection" else scene.time.slept
    assert first <= 0.5
    assert later[0] > 0
    assert later[1] > later[0]


@pytest.mark.parametrize("kind", ["connection", "rate_limited", "server_error"])
def test_a_call_is_given_up_after_its_retries(kind: FailureKind) -> None:
    asked = Scene(ScriptedEndpoint(lambda request: failed(kind)), retries=2).ask()
    assert (asked.value, asked.failure, asked.attempts) == (None, "unavailable", 3)


def test_a_timeout_is_not_tried_again_and_two_in_a_row_lose_the_server() -> None:
    scene = Scene(ScriptedEndpoint([failed("timeout"), GOOD, failed("timeout"), failed("timeout")]))
    for failure, lost in [("too_slow", None), (None, None), ("too_slow", None),
                          ("too_slow", "unavailable")]:  # fmt: skip
        asked = scene.ask()
        assert (asked.failure, asked.attempts, scene.asker.lost) == (failure, 1, lost)
    assert scene.time.slept == []


def test_a_call_may_take_longer_the_more_is_read_and_written() -> None:
    endpoint = RetryingEndpoint(ScriptedEndpoint(), Scene(ScriptedEndpoint()).ledger)
    assert endpoint.timeout(100, 20) == 30.0  # the least
    assert (
        endpoint.timeout(1_000, 200) < endpoint.timeout(1_000, 800) < endpoint.timeout(9_000, 800)
    )
    fixed = RetryingEndpoint(ScriptedEndpoint(), Scene(ScriptedEndpoint()).ledger, timeout=7.0)
    assert fixed.timeout(9_000, 800) == 7.0


@pytest.mark.parametrize(("seconds", "longer"), [(60.0, True), (0.01, False)])
def test_a_call_may_take_as_long_as_the_pace_of_the_server_says(
    seconds: float, longer: bool
) -> None:
    class Paced(ScriptedEndpoint):
        async def attempt(self, request: ChatRequest, **options: Any) -> ChatReply:  # noqa: ANN401
            scene.time.now += seconds
            return await super().attempt(request, **options)

    scene = Scene(Paced([GOOD]))
    retrying = scene.asker._retrying
    before = retrying.timeout(4_000, 800)
    scene.ask()
    after = retrying.timeout(4_000, 800)
    assert after > 2 * before if longer else after == 30.0


@pytest.mark.parametrize("kind", ["bad_request", "unauthorised", "unknown_model", "not_openai"])
def test_a_refusal_is_never_tried_again(kind: FailureKind) -> None:
    asked = Scene(ScriptedEndpoint([failed(kind), GOOD])).ask()
    assert (asked.value, asked.failure, asked.attempts) == (None, "refused_by_server", 1)
    assert asked.problems == (f"{kind}: as scripted",)


def test_a_refusal_whose_cause_was_removed_is_tried_again_at_once() -> None:
    scene = Scene(ScriptedEndpoint([failed("bad_request", retryable=True), GOOD]))
    assert scene.ask().value == STEP
    assert scene.time.slept == []


def test_the_wait_a_server_asks_for_is_kept() -> None:
    scene = Scene(ScriptedEndpoint([failed("rate_limited", retry_after=7.0), GOOD]))
    assert scene.ask().value == STEP
    assert scene.time.slept == [7.0]


@pytest.mark.parametrize("wait", [31.0, 1e9])
def test_a_wait_that_is_too_long_is_not_waited(wait: float) -> None:
    scene = Scene(ScriptedEndpoint([failed("rate_limited", retry_after=wait), GOOD]))
    asked = scene.ask()
    assert (asked.failure, asked.attempts) == ("unavailable", 1)
    assert scene.time.slept == []


def test_a_wait_beyond_the_deadline_is_not_waited() -> None:
    endpoint = ScriptedEndpoint([failed("rate_limited", retry_after=7.0), GOOD])
    scene = Scene(endpoint, Budget(seconds=6.0))
    assert scene.ask().failure == "unavailable"
    assert scene.time.slept == []
