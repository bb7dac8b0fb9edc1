"""Attempts of one request: what is tried again, after what wait, and what is given up."""

from __future__ import annotations

import pytest
from support.client import GOOD, STEP, Scene, failed

from hoptrail.agents.budget.ledger import Budget
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import (
    FailureKind,
)


@pytest.mark.parametrize("kind", ["connection", "timeout", "rate_limited", "server_error"])
def test_what_may_pass_is_tried_again(kind: FailureKind) -> None:
    scene = Scene(ScriptedEndpoint([failed(kind), failed(kind), failed(kind), GOOD]))
    asked = scene.ask()
    assert (asked.value, asked.attempts, asked.re_asks) == (STEP, 4, 0)
    assert scene.ledger.spent().calls == 4
    first, *later = [0.0, *scene.time.slept] if kind == "connection" else scene.time.slept
    assert first <= 0.5
    assert later[0] > 0
    assert later[1] > later[0]


@pytest.mark.parametrize("kind", ["connection", "timeout", "rate_limited", "server_error"])
def test_a_call_is_given_up_after_its_retries(kind: FailureKind) -> None:
    asked = Scene(ScriptedEndpoint(lambda request: failed(kind)), retries=2).ask()
    assert (asked.value, asked.failure, asked.attempts) == (None, "unavailable", 3)


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
