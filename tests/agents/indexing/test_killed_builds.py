"""Builds that are killed: what they have spent counts when they go on."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.agents import CHAIN, make_chain

from hoptrail.agents.budget.journal import JournalError
from hoptrail.agents.budget.ledger import Budget, Ledger
from hoptrail.agents.indexing.graph_builder import GraphBuildReport, build_graph
from hoptrail.agents.indexing.graph_estimate import estimate_graph
from hoptrail.agents.indexing.model_build import build_journal, build_ledger
from hoptrail.agents.llm.scripted import ScriptedEndpoint
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.rag.errors import ModelError
from hoptrail.rag.store.store import Store

ALL = len(CHAIN)
LIMIT = Budget(calls=ALL - 1, tokens=10**6, seconds=10_000.0)
NOTHING = '{"triples": []}'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_chain(tmp_path / "store", graph="links")


def build(root: Path, model: ScriptedEndpoint, budget: Budget = LIMIT) -> GraphBuildReport:
    async def main() -> GraphBuildReport:
        with Store.open(root) as store:
            plan = await estimate_graph(store, model)
            return await build_graph(store, model, plan, budget=budget, parallel=1)

    return asyncio.run(main())


def killed(root: Path, at: int, copy: Path) -> Path:
    """The store as a kill during the question number `at` leaves it."""
    asked = iter(range(ALL))

    def script(_: ChatRequest) -> str:
        if next(asked) == at:
            shutil.copytree(root, copy)
        return NOTHING

    build(root, ScriptedEndpoint(script), replace(LIMIT, calls=ALL - 1))
    return copy


def journal(root: Path) -> Path:
    return build_journal(root, "default", "graph")


@pytest.mark.parametrize("at", range(ALL - 1))
def test_the_limit_of_calls_holds_over_a_kill_at_every_question(
    root: Path, tmp_path: Path, at: int
) -> None:
    left = killed(root, at, tmp_path / "killed")
    model = ScriptedEndpoint(lambda _: NOTHING)
    report = build(left, model)
    assert len(model.requests) == LIMIT.calls - (at + 1)
    assert (report.stop, report.usage.calls) == ("out_of_calls", LIMIT.calls)
    assert not journal(left).exists(), "its report was given: the next build begins anew"
    assert build(left, ScriptedEndpoint(lambda _: NOTHING)).usage.calls <= ALL


def test_the_question_under_way_counts_whole(root: Path, tmp_path: Path) -> None:
    left = killed(root, 2, tmp_path / "killed")
    lines = [json.loads(line) for line in journal(left).read_text().splitlines()]
    before = sum(
        line["prompt_tokens"] + line["completion_tokens"]
        for line in lines
        if line["op"] == "settle" or (line["op"] == "reserve" and line["id"] == 2)
    )
    assert lines[-1]["seconds"] == 300.0, "an attempt's limit, by which its time is bounded"
    with build_ledger(journal(left), LIMIT) as ledger:
        assert ledger.spent().tokens == before
        assert ledger.elapsed() >= lines[-1]["t"]


def test_other_limits_begin_anew(root: Path, tmp_path: Path) -> None:
    left = killed(root, 3, tmp_path / "killed")
    report = build(left, ScriptedEndpoint(lambda _: NOTHING), replace(LIMIT, calls=ALL))
    assert report.usage.calls <= ALL
    assert report.stop == "done"


def test_a_build_that_ended_leaves_no_journal(root: Path) -> None:
    assert build(root, ScriptedEndpoint(lambda _: NOTHING)).stop == "out_of_calls"
    assert not journal(root).exists()


def test_a_server_that_is_not_there_costs_nothing_of_the_next_build(root: Path) -> None:
    class Gone(ScriptedEndpoint):
        async def info(self) -> Any:  # noqa: ANN401
            raise ModelError("There is no server.")

    async def main() -> None:
        with Store.open(root) as store:
            plan = await estimate_graph(store, ScriptedEndpoint())
            await build_graph(store, Gone(), plan, budget=LIMIT)

    with pytest.raises(ModelError):
        asyncio.run(main())
    assert not journal(root).exists()


def test_a_second_build_of_the_same_graph_is_refused(root: Path) -> None:
    with (
        build_ledger(journal(root), LIMIT),
        pytest.raises(JournalError, match="still going in another process"),
    ):
        build(root, ScriptedEndpoint(lambda _: NOTHING))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return build_journal(tmp_path, "default", "tree")


def test_a_build_stopped_by_an_exception_is_counted(path: Path) -> None:
    def broken() -> None:
        with build_ledger(path, LIMIT) as ledger:
            ledger.reserve_call(node="n", prompt_tokens=10, completion_tokens=10)
            raise RuntimeError("a bug")

    for calls in range(1, 4):
        with pytest.raises(RuntimeError):
            broken()
        left = Ledger.open(path, LIMIT)
        assert left.spent().calls == calls
        left.close()
