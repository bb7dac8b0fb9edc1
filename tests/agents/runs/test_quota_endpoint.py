"""An endpoint within a quota: what it draws, what it gives back, and runs that wait."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from support.agents import QUESTION, reading
from support.client import GOOD, STEP, Scene, failed
from support.clock import Clock

from hoptrail.agents import Budget, KnowledgeBase, Receipt, aask, replay
from hoptrail.agents.budget.quota import Quota
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import AttemptFailed, ChatRequest, Endpoint, Message
from hoptrail.agents.runs.quota_endpoint import QuotaEndpoint

REQUEST = ChatRequest(
    messages=(Message(role="user", content="Who built the Heron?"),),
    schema=None,
    schema_name="",
    max_tokens=100,
)
MOST = len("Who built the Heron?") + 64 + 100


def attempts(endpoint: Endpoint, number: int) -> list[Any]:
    async def main() -> list[Any]:
        made = [endpoint.attempt(REQUEST, timeout=0.2) for _ in range(number)]
        return await asyncio.gather(*made, return_exceptions=True)

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("quota", "sent"),
    [(Quota(calls_per_minute=2), 2), (Quota(tokens_per_minute=MOST + 30), 2), (Quota(), 4)],
)
def test_a_call_without_room_is_not_sent_and_costs_nothing(quota: Quota, sent: int) -> None:
    server = ScriptedEndpoint(lambda _: GOOD)  # its true cost is about 20 tokens
    first, *_, last = attempts(QuotaEndpoint(server, quota), 4)
    assert first.text == GOOD
    assert len(server.requests) == sent
    if sent < 4:
        assert isinstance(last, AttemptFailed)
        assert (last.kind, last.spent, last.retryable) == ("timeout", False, True)
        assert "the quota had no room for it" in last.detail


def test_a_failure_that_cost_nothing_gives_its_tokens_back() -> None:
    quota = Quota(tokens_per_minute=MOST, clock=Clock())
    server = ScriptedEndpoint([failed("connection"), failed("server_error", spent=True), GOOD])
    endpoint = QuotaEndpoint(server, quota)
    kinds = [attempts(endpoint, 1)[0].kind for _ in range(3)]
    assert kinds == ["connection", "server_error", "timeout"]
    assert len(server.requests) == 2


def test_a_question_whose_wait_is_too_long_for_its_seconds_is_out_of_time() -> None:
    quota = Quota(calls_per_minute=1)
    scene = Scene(QuotaEndpoint(ScriptedEndpoint([GOOD]), quota), Budget(seconds=0.05))
    assert scene.ask().value == STEP
    with pytest.raises(Exception, match="out_of_time"):
        scene.ask()


def test_a_run_that_gets_no_place_in_time_ends_out_of_time_and_replays(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    async def main() -> Receipt:
        quota = Quota(questions=1)
        async with quota.question(timeout=0):
            return await aask(
                QUESTION, library, model=reading(), quota=quota, budget=Budget(seconds=0.05),
                record=tmp_path / "run.jsonl",
            )  # fmt: skip

    receipt = asyncio.run(main())
    assert (receipt.stop, receipt.usage.searches, receipt.usage.calls) == ("out_of_time", 0, 0)
    again = replay(tmp_path / "run.jsonl")
    assert again.same, again.difference


def test_a_run_cancelled_while_it_waits_for_its_place_says_so(library: KnowledgeBase) -> None:
    async def main() -> Receipt:
        quota, cancel = Quota(questions=1), asyncio.Event()
        async with quota.question(timeout=0):
            asyncio.get_running_loop().call_later(0.02, cancel.set)
            return await aask(QUESTION, library, quota=quota, cancel=cancel)

    assert asyncio.run(main()).stop == "cancelled"


def test_runs_share_a_quota_and_replay_without_it(library: KnowledgeBase, tmp_path: Path) -> None:
    class Counting(ScriptedEndpoint):
        at_once = most = 0

        async def attempt(self, request: ChatRequest, **options: Any) -> Any:  # noqa: ANN401
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            await asyncio.sleep(0)
            self.at_once -= 1
            return await reader.attempt(request, **options)

    reader, server, quota = reading(), Counting(), Quota(questions=1, calls_per_minute=10**6)

    async def main() -> list[Receipt]:
        asked = [
            aask(QUESTION, library, model=server, quota=quota, record=tmp_path / f"{number}.jsonl")
            for number in range(3)
        ]
        return list(await asyncio.gather(*asked))

    receipts = asyncio.run(main())
    assert [receipt.outcome.kind for receipt in receipts] == ["answered"] * 3
    assert server.most == 1
    for number in range(3):
        again = replay(tmp_path / f"{number}.jsonl")
        assert again.same, again.difference
