"""Models that think before they reply: limits of their own, and replies found where they are."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from support.client import FORM, GOOD, STEP, Scene

from hoptrail.agents.budget.ledger import Budget
from hoptrail.agents.budget.limits import ReportedUsage
from hoptrail.agents.llm.reply_schema import text_reply
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatReply, Thinking
from hoptrail.prompts.loader import Rendered

THINKING = Thinking(on=True, tokens=500)


def reply(text: str, reasoning: str = "", finish_reason: str = "stop") -> ChatReply:
    return ChatReply(
        text=text, reasoning=reasoning, finish_reason=finish_reason, usage=None, model="m"
    )


def test_thoughts_are_limited_apart_from_the_reply() -> None:
    endpoint = ScriptedEndpoint(lambda request: f"<think>{'hm ' * 200}</think>{GOOD}")
    assert Scene(endpoint, thinking=THINKING).ask().value == STEP
    (request,) = endpoint.requests
    assert (request.thinking, request.max_tokens) == (True, 560)


def test_thoughts_are_off_where_too_little_is_left_for_them() -> None:
    endpoint = ScriptedEndpoint([GOOD], tokenizes=True)
    scene = Scene(endpoint, Budget(tokens=180), thinking=THINKING)
    assert scene.ask().value == STEP
    (request,) = endpoint.requests
    assert not request.thinking
    assert 60 <= request.max_tokens < 185


@pytest.mark.parametrize(
    "cut",
    [
        reply("", "hm " * 50, "length"),
        reply("<think>hm hm", "", "length"),
        reply("The user wants me to", "", "length"),
    ],
)
@pytest.mark.parametrize("thinking", [THINKING, Thinking(tokens=500)])
def test_a_reply_cut_off_in_its_thoughts_is_asked_for_without_them(
    cut: ChatReply, thinking: Thinking
) -> None:
    endpoint = ScriptedEndpoint([cut, GOOD])
    asked = Scene(endpoint, thinking=thinking).ask()
    assert asked.value == STEP
    assert asked.problems == ("the reply was cut off in its thoughts",)
    again = endpoint.requests[1]
    # If they cannot be switched off, there is room for them all the same.
    assert (again.thinking, again.max_tokens) == (False, 560)


def test_a_reply_cut_off_in_its_text_is_asked_for_with_the_same_limit() -> None:
    endpoint = ScriptedEndpoint([reply(GOOD[:-5], "", "length"), GOOD])
    asked = Scene(endpoint).ask()
    assert (asked.value, endpoint.requests[1].max_tokens) == (STEP, 60)
    assert "before its end" in asked.problems[0]


def test_a_reply_that_a_server_took_for_thoughts_is_used() -> None:
    assert Scene(ScriptedEndpoint([reply("", GOOD)])).ask().value == STEP
    plain = text_reply("answer")
    assert Scene(ScriptedEndpoint([reply("", "Yes.")])).ask(form=plain).value == "Yes."
    thinks = Scene(ScriptedEndpoint([reply("", "Hm."), "No."]), thinking=THINKING)
    assert thinks.ask(form=plain).value == "No."


def test_zero_usage_for_thoughts_alone_is_no_report() -> None:
    free = ReportedUsage(prompt_tokens=5, completion_tokens=0)
    said = replace(reply("", GOOD), usage=free)
    scene = Scene(ScriptedEndpoint([said]))
    assert scene.ask().usage.completion_tokens == 60  # what was reserved
    assert [flag.node for flag in scene.ledger.flags] == ["plan"]


def test_thoughts_are_not_quoted_to_the_model() -> None:
    endpoint = ScriptedEndpoint(["<think>hm</think>I cannot.", GOOD])
    assert Scene(endpoint).ask().value == STEP
    assert endpoint.requests[1].messages[-2].content == "I cannot."


WORD = '{"word":"qzv7kx"}'


@pytest.mark.parametrize(
    ("probe", "enforces", "thinks"),
    [
        ([WORD], True, False),
        ([reply(WORD, "hm")], True, True),
        ([reply("", WORD)], True, True),
        ([reply("", "hm", "length"), reply(WORD, "hm hm")], True, True),
        ([reply("<think>hm", "", "length"), "<think>hm</think>The sky is blue."], False, True),
        ([reply("The sky is of a", "", "length"), "The sky is of a blue that"], False, False),
        ([reply('{"word":"q', "", "length")], False, False),
    ],
)
def test_the_probe_shows_a_model_that_thinks_although_told_not_to(
    probe: list[Any], enforces: bool, thinks: bool
) -> None:
    endpoint = ScriptedEndpoint([*probe, GOOD, GOOD], enforces_schema=None)
    scene = Scene(endpoint, thinking=Thinking(tokens=500))
    assert scene.ask().value == STEP
    assert (scene.asker.server.enforces_schema, scene.asker.server.thinks) == (enforces, thinks)
    assert [request.thinking for request in endpoint.requests] == [False] * (len(probe) + 1)
    assert endpoint.requests[-1].max_tokens == (560 if thinks else 60)
    assert Scene(endpoint, thinking=Thinking(tokens=9)).ask().value == STEP  # and it is known
    assert endpoint.requests[-1].max_tokens == (69 if thinks else 60)


def test_thoughts_take_no_more_than_a_quarter_of_the_room_of_a_prompt() -> None:
    blocks = ["word " * 60] * 9
    endpoint = ScriptedEndpoint([GOOD], tokenizes=True, max_model_len=500)
    scene = Scene(endpoint, thinking=Thinking(on=True, tokens=5_000))

    async def kept() -> int:
        await scene.asker.prepare()
        fitted = await scene.asker.fit(
            lambda chosen: Rendered(name="p", messages=(("user", "".join(chosen)),), hash="h"),
            blocks,
            form=FORM,
            max_tokens=100,
        )
        return len(fitted.kept)

    assert asyncio.run(kept()) == 4  # 300 tokens of 400
