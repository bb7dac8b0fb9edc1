"""The doors of one question: in and out of a loop, cancelled, late, empty, changed underneath."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.agents import (
    CHAIN,
    QUESTION,
    Around,
    make_chain,
    open_chain,
    over,
    page,
    reading,
    substance,
)
from support.clock import Clock

import hoptrail.agents
from hoptrail.agents import (
    Budget,
    Receipt,
    RunSettings,
    aask,
    aresume,
    ask,
    replay,
    resume,
    unfinished_runs,
)
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ServerInfo
from hoptrail.agents.runs.interceptor import Cancelled, ExternalCall, LiveInterceptor
from hoptrail.agents.runs.request import LONGEST_QUESTION
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import HoptrailError, ModelError, SettingsError
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Mode, Ranking, Where

ONE_BY_ONE = RunSettings(max_queries=1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of every run of the test."""
    made = Clock()
    monkeypatch.setattr(
        sys.modules["hoptrail.agents.ask"],
        "LiveInterceptor",
        functools.partial(LiveInterceptor, now=made),
    )
    return made


# The public door


def test_the_public_names_are_what_can_be_imported() -> None:
    assert len(set(hoptrail.agents.__all__)) == len(hoptrail.agents.__all__)
    module = importlib.import_module("hoptrail.agents")
    for name in hoptrail.agents.__all__:
        assert getattr(module, name) is not None
    modules = {path.stem for path in Path(hoptrail.agents.__file__).parent.iterdir()}
    public = {name for name in vars(module) if not name.startswith("_")}
    assert public - (modules - set(hoptrail.agents.__all__)) == set(hoptrail.agents.__all__)


def test_a_question_by_folder_or_by_library_is_the_same(
    store: Path, library: KnowledgeBase
) -> None:
    one = ask(QUESTION, store, embedder=HashEmbedder())
    assert substance(one) == substance(ask(QUESTION, library))
    assert substance(one) == substance(ask(QUESTION, str(store)))
    assert unfinished_runs(store / "default" / "runs") == ()


def test_ask_inside_a_running_loop_takes_a_thread_of_its_own(library: KnowledgeBase) -> None:
    seen: set[str] = set()

    async def main() -> Receipt:
        return ask(QUESTION, library, on_event=lambda _: seen.add(threading.current_thread().name))

    assert asyncio.run(main()).outcome.kind == "quotes"
    assert {name.rpartition("_")[0] for name in seen} == {"hoptrail-sync"}


def test_what_goes_wrong_in_the_thread_is_raised_here(library: KnowledgeBase) -> None:
    async def main() -> None:
        ask("", library)

    with pytest.raises(SettingsError, match="The question is empty"):
        asyncio.run(main())


def test_questions_side_by_side_are_as_if_alone(library: KnowledgeBase) -> None:
    questions = [QUESTION, "When was the Heron launched?", "Who founded the Veil Institute?"]

    async def main() -> list[Receipt]:
        return await asyncio.gather(*(aask(question, library) for question in questions))

    for question, receipt in zip(questions, asyncio.run(main()), strict=True):
        assert substance(receipt) == substance(ask(question, library))


# Bad questions


@pytest.mark.parametrize("question", ["", "  \n\t"])
def test_an_empty_question_is_refused(library: KnowledgeBase, question: str) -> None:
    with pytest.raises(SettingsError, match=r"^The question is empty\.$"):
        ask(question, library)


def test_a_huge_question_is_refused(library: KnowledgeBase) -> None:
    with pytest.raises(SettingsError, match=r"The question has 100,000 characters, at most 20,000"):
        ask("x" * 100_000, library)
    assert ask("x " * (LONGEST_QUESTION // 2), library).outcome.kind == "abstained"


@pytest.mark.parametrize("question", ["?!", "…", "\x00", "𝕳𝖊𝖗𝖔𝖓", "a" * 5000, "the of and"])
def test_an_odd_question_ends_well(library: KnowledgeBase, question: str) -> None:
    receipt = ask(question, library)
    assert receipt.question == question
    assert receipt.outcome.kind in ("quotes", "partial", "abstained")


@pytest.mark.parametrize("name", ["searches", "seconds"])
def test_a_budget_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=f"budget of {name}"):
        Budget(**{name: 0})


# What the corpus may do


def test_an_empty_store_gives_nothing(tmp_path: Path) -> None:
    with open_chain(make_chain(tmp_path / "store", {})) as library:
        for model in (None, reading()):
            receipt = ask(QUESTION, library, model=model)
            assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "nothing_found")
            assert receipt.stop == "no_progress"
            assert (receipt.answer, receipt.evidence, receipt.candidates) == ("", (), ())


def test_no_store_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(HoptrailError, match="No store of tenant"):
        ask(QUESTION, tmp_path / "none")


def test_a_document_replaced_underneath_is_not_cited(tmp_path: Path) -> None:
    root = make_chain(tmp_path / "store")
    with open_chain(root) as library:

        class Replacing(Around):
            replaced = False

            async def slice(
                self, document_id: str, start: int, end: int, *, timeout: float
            ) -> str | None:
                if not self.replaced:
                    self.replaced = True
                    with Store.open(root) as writer:
                        title, text = CHAIN["d2"]
                        writer.commit([page("d2", title, text.replace("Tarn Hollow", "sea"))])
                return await super().slice(document_id, start, end, timeout=timeout)

        receipt = ask(QUESTION, over(library, Replacing(library.corpus)), model=reading())
    assert len(receipt.source_changed) == 1
    assert "Tarn Hollow" not in {e.title for e in receipt.evidence}
    assert "d2" not in {e.document_id for e in receipt.evidence}
    assert receipt.claims == ()
    assert receipt.answer == ""
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "nothing_verified")


def test_when_all_sources_moved_the_reason_says_so(library: KnowledgeBase) -> None:
    class Gone(Around):
        async def slice(
            self, document_id: str, start: int, end: int, *, timeout: float
        ) -> str | None:
            return None

    receipt = ask(QUESTION, over(library, Gone(library.corpus)))
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "source_changed")
    assert receipt.evidence == ()
    assert len(receipt.source_changed) > 2
    assert "Ilsa" not in receipt.answer
    assert all(claim.reason == "cites no known evidence" for claim in receipt.dropped)


# Time


class Slow(Around):
    """Every search moves the clock."""

    def __init__(self, library: KnowledgeBase, clock: Clock, seconds: float) -> None:
        super().__init__(library.corpus)
        self.clock = clock
        self.seconds = seconds
        self.timeouts: list[float] = []

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        self.timeouts.append(timeout)
        self.clock.now += self.seconds
        if self.seconds > timeout:
            raise TimeoutError
        return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)


def test_nothing_starts_after_the_deadline(library: KnowledgeBase, clock: Clock) -> None:
    corpus = Slow(library, clock, 4.0)
    receipt = ask(QUESTION, over(library, corpus), budget=Budget(seconds=10.0), settings=ONE_BY_ONE)
    assert (receipt.stop, receipt.outcome.kind) == ("out_of_time", "partial")
    # The third is under way when the time is up.
    assert len(corpus.searched) == 2
    assert corpus.timeouts == [10.0, 6.0, 2.0]
    assert "Her first master was Ilsa Corrin" in receipt.answer
    assert receipt.usage.seconds == 12.0
    assert receipt.usage.searches == 3


def test_a_late_first_search_leaves_nothing(library: KnowledgeBase, clock: Clock) -> None:
    receipt = ask(QUESTION, over(library, Slow(library, clock, 60)), budget=Budget(seconds=10.0))
    assert receipt.stop == "out_of_time"
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "out_of_budget")


def test_the_time_is_up_in_a_replay_too(
    library: KnowledgeBase, clock: Clock, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    own = over(library, Slow(library, clock, 4.0))
    first = ask(QUESTION, own, budget=Budget(seconds=10.0), settings=ONE_BY_ONE, record=path)
    assert first.stop == "out_of_time"
    again = replay(path)
    assert again.same, again.difference


def test_a_slow_model_is_cut_at_the_deadline(library: KnowledgeBase, clock: Clock) -> None:
    timeouts: list[float] = []

    class Slow(ScriptedEndpoint):
        async def attempt(self, request: Any, *, timeout: float, on_delta: Any = None) -> Any:  # noqa: ANN401
            timeouts.append(timeout)
            clock.now += 25.0
            return await reading().attempt(request, timeout=timeout, on_delta=on_delta)

    receipt = ask(QUESTION, library, model=Slow(), budget=Budget(seconds=60.0))
    assert timeouts == [60.0, 35.0, 10.0]
    assert receipt.stop == "out_of_time"
    assert receipt.extractive
    assert receipt.usage.calls == 3


# Cancelling


def test_a_cancelled_run_gives_its_best_answer_so_far(library: KnowledgeBase) -> None:
    async def main() -> tuple[Receipt, list[str]]:
        cancel = asyncio.Event()

        class Cancelling(Around):
            async def search(
                self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
            ) -> Ranking:
                if len(self.searched) == 2:
                    cancel.set()
                    await asyncio.sleep(60)
                return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)

        corpus = Cancelling(library.corpus)
        return await aask(QUESTION, over(library, corpus), cancel=cancel), corpus.searched

    receipt, searched = asyncio.run(main())
    assert (receipt.stop, receipt.outcome.kind) == ("cancelled", "partial")
    assert "Her first master was Ilsa Corrin" in receipt.answer
    assert len(searched) == 2


@pytest.mark.parametrize("probing", [False, True])
@pytest.mark.parametrize("model", [False, True])
def test_a_run_cancelled_before_it_began_says_so(
    library: KnowledgeBase, tmp_path: Path, model: bool, probing: bool
) -> None:
    path = tmp_path / "run.jsonl"

    async def main() -> Receipt:
        cancel = asyncio.Event()
        cancel.set()
        endpoint = reading(enforces_schema=None if probing else True) if model else None
        if endpoint is not None and probing:
            cancel.clear()

            class Info(ScriptedEndpoint):
                async def info(self) -> ServerInfo:
                    cancel.set()
                    return await super().info()

            endpoint = Info(enforces_schema=None)
        return await aask(QUESTION, library, model=endpoint, cancel=cancel, record=path)

    receipt = asyncio.run(main())
    assert receipt.stop == "cancelled"
    assert (receipt.outcome.kind, receipt.outcome.reason) == ("abstained", "cancelled")
    assert receipt.evidence == ()
    assert replay(path).same


def test_after_a_cancellation_nothing_is_begun() -> None:
    begun: list[str] = []

    def call(kind: str, *, short: bool) -> ExternalCall[None]:
        async def live() -> None:
            begun.append(kind)

        return ExternalCall(
            kind=kind,
            arguments=dict,
            live=live,
            encode=id,
            decode=lambda _: None,
            after_cancel=short,
        )

    async def main() -> None:
        cancel = asyncio.Event()
        tape = LiveInterceptor(cancel)
        await tape.call(call("before", short=False))
        cancel.set()
        await tape.call(call("short", short=True))
        with pytest.raises(Cancelled):
            await tape.call(call("after", short=False))

    asyncio.run(main())
    assert begun == ["before", "short"]


def test_a_cancelled_task_leaves_nothing_behind_and_can_be_resumed(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"

    async def main() -> int:
        waiting = asyncio.Event()

        class Hanging(Around):
            async def search(
                self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
            ) -> Ranking:
                if query == "Ilsa Corrin":
                    waiting.set()
                    await asyncio.Event().wait()
                return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)

        task = asyncio.ensure_future(
            aask(QUESTION, over(library, Hanging(library.corpus), runs), record=tmp_path / "r")
        )
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(3):
            await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
    assert not (tmp_path / "r").exists()
    (left,) = unfinished_runs(runs)
    receipt = resume(left.id, over(library, library.corpus, runs))
    whole = ask(QUESTION, library)
    assert substance(receipt) == substance(whole)
    assert unfinished_runs(runs) == ()


def test_a_crash_beside_other_searches_leaves_no_task(library: KnowledgeBase) -> None:
    async def main() -> int:
        class Breaking(Around):
            async def search(
                self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
            ) -> Ranking:
                if query == "Heron":
                    raise RuntimeError("a bug")
                await asyncio.sleep(60)
                raise AssertionError("not cancelled")

        with pytest.raises(RuntimeError, match="a bug"):
            await aask(QUESTION, over(library, Breaking(library.corpus)))
        for _ in range(3):
            await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_aresume_in_a_loop(library: KnowledgeBase, tmp_path: Path) -> None:
    from hoptrail.agents.runs.folder import begin
    from hoptrail.agents.runs.request import RunRequest

    begin(tmp_path / "runs", RunRequest(question=QUESTION, strategy="single"))
    (left,) = unfinished_runs(tmp_path / "runs")
    receipt = asyncio.run(aresume(left.id, over(library, library.corpus, tmp_path / "runs")))
    assert (receipt.strategy, receipt.outcome.kind) == ("single", "quotes")


# Budgets with a model


def test_no_calls_is_a_run_without_the_model(library: KnowledgeBase) -> None:
    endpoint = reading()
    receipt = ask(QUESTION, library, model=endpoint, budget=Budget(calls=0))
    assert endpoint.requests == []
    assert (receipt.stop, receipt.outcome.kind) == ("out_of_calls", "partial")
    assert receipt.extractive


def test_a_server_that_cannot_be_used_at_all_is_an_error(library: KnowledgeBase) -> None:
    class Absent(ScriptedEndpoint):
        async def info(self) -> ServerInfo:
            raise ModelError("no server at this address: start one")

    with pytest.raises(ModelError, match="no server at this address"):
        ask(QUESTION, library, model=Absent())


def test_a_run_that_never_began_leaves_nothing_to_resume(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    class Down(ScriptedEndpoint):
        async def info(self) -> ServerInfo:
            raise ModelError("no server at this address: start one")

    own = over(library, library.corpus, tmp_path / "runs")
    with pytest.raises(ModelError):
        ask(QUESTION, own, model=Down())
    assert unfinished_runs(tmp_path / "runs") == ()
