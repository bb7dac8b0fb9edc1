"""Time and cancellation where they bite late: between two attempts, inside the embedder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.agents import QUESTION, QUOTES, Around, make_chain, open_chain, over, reading

from hoptrail.agents import Budget, KnowledgeBase, Receipt, aask, ask, replay, unfinished_runs
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest
from hoptrail.rag.errors import SettingsError

FOREVER = 3_600.0


class StuckEmbedder(Around):
    """A corpus whose embedder never comes back to whoever compares sentences."""

    async def similarity(
        self, query: str, texts: Sequence[str], *, timeout: float
    ) -> tuple[float, ...]:
        async with asyncio.timeout(timeout):
            await asyncio.sleep(FOREVER)
        raise AssertionError("unreachable")


def test_an_embedder_that_hangs_costs_no_more_than_the_time_there_is(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    slow = over(library, StuckEmbedder(library.corpus))
    receipt = ask(QUESTION, slow, budget=Budget(seconds=0.5), record=path)
    assert receipt.stop == "out_of_time"
    assert receipt.evidence, "what shares words with the question is quoted without the embedder"
    again = replay(path)
    assert again.same, again.difference


@pytest.mark.parametrize("form", ["PlanForm", "RefineForm", "AssessForm", "AnswerForm"])
def test_a_run_cancelled_between_two_attempts_ends_well_and_replays(
    library: KnowledgeBase, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "run.jsonl"

    async def main() -> Receipt:
        cancel = asyncio.Event()

        def busy(_: object) -> AttemptFailed:
            asyncio.get_running_loop().call_later(0.05, cancel.set)
            return AttemptFailed("rate_limited", "HTTP 429", retryable=True, retry_after=20.0)

        model = reading(by_schema={form: busy})
        return await aask(
            QUESTION, library, model=model, settings=QUOTES, cancel=cancel, record=path
        )

    receipt = asyncio.run(main())
    assert receipt.stop in ("cancelled", "sufficient")
    assert receipt.fallbacks >= 1
    again = replay(path)
    assert again.same, again.difference


def test_a_run_cancelled_while_the_server_is_sought_says_so(library: KnowledgeBase) -> None:
    class Silent(ScriptedEndpoint):
        async def info(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            await asyncio.sleep(FOREVER)

    async def main() -> Receipt:
        cancel = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, cancel.set)
        return await aask(QUESTION, library, model=Silent(), cancel=cancel)

    receipt = asyncio.run(main())
    assert (receipt.stop, receipt.outcome.kind) == ("cancelled", "abstained")
    assert receipt.outcome.reason == "cancelled"


def test_a_server_that_does_not_say_what_it_is_leaves_the_local_players(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    class Silent(ScriptedEndpoint):
        async def info(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
            await asyncio.sleep(FOREVER)

    file = tmp_path / "run.jsonl"
    receipt = ask(QUESTION, library, model=Silent(), budget=Budget(seconds=8), record=file)
    assert (receipt.model, receipt.extractive, receipt.fallbacks) == ("", True, 0)
    assert receipt.evidence
    assert receipt.stop != "out_of_time"
    assert receipt.usage.seconds < 8
    said = "start: The model server does not say what it is in 2 s. The local players stand in."
    assert receipt.flags == (said,)
    assert replay(file).same


def test_a_probe_without_an_answer_leaves_the_local_players(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    class Mute(ScriptedEndpoint):
        async def attempt(self, request: ChatRequest, **_: object) -> ChatReply:
            await asyncio.sleep(FOREVER)
            raise AssertionError("unreachable")

    file = tmp_path / "run.jsonl"
    model = Mute(enforces_schema=None)
    receipt = ask(QUESTION, library, model=model, budget=Budget(seconds=8), record=file)
    assert (receipt.model, receipt.extractive, receipt.usage.calls) == ("", True, 1)
    assert receipt.evidence
    (flag,) = [one for one in receipt.flags if one.startswith("start: ")]
    assert "does not answer: timeout" in flag
    assert replay(file).same


def test_what_cannot_be_begun_leaves_no_run(tmp_path: Path) -> None:
    with open_chain(make_chain(tmp_path / "store"), keep=True) as library:
        assert library.runs is not None
        for options in ({"where": {"kind": float("nan")}}, {"strategy": "guess"}):
            with pytest.raises(SettingsError):
                ask(QUESTION, library, **options)
        with pytest.raises(SettingsError, match="Unicode"):
            ask("Who is \udc80?", library)
        assert unfinished_runs(library.runs) == ()


def test_a_blank_subject_of_a_plan_is_no_search(library: KnowledgeBase) -> None:
    plan = '{"needs": [{"text": "it", "subject": " "}], "asks": "place"}'
    receipt = ask(QUESTION, library, model=reading(by_schema={"PlanForm": [plan]}))
    assert all(step.detail.strip() for step in receipt.steps if step.node == "retrieve")
    assert receipt.fallbacks == 0
