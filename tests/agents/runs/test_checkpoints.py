"""A run that crashes is taken up where it stood, and what it spent stays spent."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import subprocess
import sys
import typing
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.agents import (
    QUESTION,
    QUOTES,
    Around,
    Reader,
    make_chain,
    open_chain,
    over,
    reading,
    said,
    substance,
)

from hoptrail.agents import Budget, Receipt, ask, resume, types, unfinished_runs
from hoptrail.agents.budget.journal import JournalError
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.types import ChatRequest
from hoptrail.agents.nodes.state import RunContext, RunState, StateUpdate
from hoptrail.agents.runs.checkpoints import REGISTERED, Serializer
from hoptrail.agents.runs.request import RunSettings
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Mode, Ranking, Where


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[RunState]:
    """The last state of each run, in order."""
    seen: list[RunState] = []
    session = importlib.import_module("hoptrail.agents.run")
    through = session.run_graph

    async def noting(*arguments: Any, **options: Any) -> RunState:  # noqa: ANN401
        seen.append(await through(*arguments, **options))
        return seen[-1]

    monkeypatch.setattr(session, "run_graph", noting)
    return seen


class Crashing(Around):
    """Raises at the n-th search; with `snapshot`, copies the runs as `kill -9` would leave them."""

    def __init__(
        self, library: KnowledgeBase, at: int, snapshot: tuple[Path, Path] | None = None
    ) -> None:
        super().__init__(library.corpus)
        self.at = at
        self.snapshot = snapshot

    async def search(
        self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
    ) -> Ranking:
        if len(self.searched) + 1 == self.at:
            self.at = 0
            if self.snapshot:
                shutil.copytree(*self.snapshot)
            else:
                raise RuntimeError("a bug in the middle")
        return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)


def same(one: object, other: object, where: str = "state") -> None:
    """Equal in values and in types, all the way down."""
    assert type(one) is type(other), where
    if is_dataclass(one):
        for field in fields(one):
            name = field.name
            same(getattr(one, name), getattr(other, name), f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(typing.cast("list[object]", other)), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):  # type: ignore[call-overload]
            same(a, b, f"{where}[{number}]")
    elif isinstance(one, dict):
        same(list(one.items()), list(typing.cast("dict[str, object]", other).items()), where)
    else:
        assert one == other, where


@pytest.mark.parametrize("at", [1, 3, 5])
@pytest.mark.parametrize("model", [False, True])
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    library: KnowledgeBase, tmp_path: Path, states: list[RunState], at: int, model: bool
) -> None:
    reader = Reader()
    reader.queries = lambda _: {"queries": ["Ilsa Corrin born", "Tarn slate", "Port light"]}  # type: ignore[method-assign]
    whole = ask(QUESTION, library, model=reading(reader) if model else None)
    runs = tmp_path / "runs"
    broken = over(library, Crashing(library, at), runs)
    with pytest.raises(RuntimeError, match="a bug in the middle"):
        ask(QUESTION, broken, model=reading(reader) if model else None)
    (left,) = unfinished_runs(runs)
    assert left.job().question == QUESTION
    receipt = resume(
        left.id, over(library, library.corpus, runs), model=reading(reader) if model else None
    )
    assert substance(receipt) == substance(whole)
    assert receipt.steps == whole.steps
    first, second = states
    assert second.clock > 0
    unlike = {"receipt": "", "clock": 0.0}
    same(dataclasses.replace(second, **unlike), dataclasses.replace(first, **unlike))  # type: ignore[arg-type]
    # The searches of the node that crashed were made twice, and count twice.
    assert whole.usage.searches < receipt.usage.searches <= whole.usage.searches + 6
    assert unfinished_runs(runs) == ()
    assert list(runs.iterdir()) == []


def test_what_was_under_way_when_it_was_killed_counts_as_spent(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    runs, killed = tmp_path / "runs", tmp_path / "killed"

    class Snapping(Reader):
        def assess(self, request: ChatRequest) -> object:
            if not killed.exists():
                shutil.copytree(runs, killed)
            return super().assess(request)

    whole = ask(QUESTION, over(library, library.corpus, runs), model=reading(Snapping()))
    assert list(runs.iterdir()) == []
    (left,) = unfinished_runs(killed)
    lines = [json.loads(line) for line in left.ledger.read_text().splitlines()]
    (open_call,) = [
        line for line in lines if line["op"] == "reserve" and line["kind"] == "call"
        and line["id"] not in {settled["id"] for settled in lines if settled["op"] == "settle"}
    ]  # fmt: skip
    assert open_call["node"] == "assess"
    receipt = resume(left.id, over(library, library.corpus, killed), model=reading())
    assert substance(receipt) == substance(whole)
    assert receipt.usage.calls == whole.usage.calls + 1
    reserved = open_call["prompt_tokens"] + open_call["completion_tokens"]
    assert receipt.usage.tokens == whole.usage.tokens + reserved
    assert receipt.usage.searches == whole.usage.searches


def test_a_resumed_run_keeps_to_the_budget_it_began_with(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    runs, killed = tmp_path / "runs", tmp_path / "killed"
    budget = Budget(searches=3)
    snapping = Crashing(library, 3, (runs, killed))
    whole = ask(QUESTION, over(library, snapping, runs), budget=budget)
    assert whole.stop == "out_of_searches"
    (left,) = unfinished_runs(killed)
    receipt = resume(left.id, over(library, library.corpus, killed))
    assert receipt.budget == budget
    assert receipt.usage.searches == 3
    assert (receipt.stop, receipt.outcome.kind) == ("out_of_searches", "partial")


def test_the_time_before_a_crash_counts(library: KnowledgeBase, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(RuntimeError):
        ask(QUESTION, over(library, Crashing(library, 3), runs), budget=Budget(seconds=100))
    (left,) = unfinished_runs(runs)
    with left.ledger.open("a") as file:
        file.write('{"op": "tick", "t": 99.999999}\n')
    receipt = resume(left.id, over(library, library.corpus, runs))
    assert receipt.usage.seconds >= 99.9
    assert receipt.stop in ("out_of_time", "sufficient")


def test_documents_that_changed_meanwhile_are_not_cited(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    with pytest.raises(RuntimeError):
        ask(QUESTION, over(library, Crashing(library, 3), runs))
    (left,) = unfinished_runs(runs)

    class Changed(Around):
        async def slice(
            self, document_id: str, start: int, end: int, *, timeout: float
        ) -> str | None:
            return "other words" if document_id == "d1" else await super().slice(
                document_id, start, end, timeout=timeout
            )  # fmt: skip

    receipt = resume(left.id, over(library, Changed(library.corpus), runs))
    assert receipt.source_changed
    assert "d1" not in {item.document_id for item in receipt.evidence}
    assert "Her first master" not in receipt.answer


def test_a_run_that_does_not_exist_is_refused_with_those_there_are(
    library: KnowledgeBase, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    here = over(library, library.corpus, runs)
    with pytest.raises(SettingsError, match=r"no run 'x' to resume; unfinished runs here: none"):
        resume("x", here)
    with pytest.raises(RuntimeError):
        ask(QUESTION, over(library, Crashing(library, 1), runs))
    (left,) = unfinished_runs(runs)
    for wrong in ("x", "../" + left.id, "", left.id + "/"):
        with pytest.raises(SettingsError, match=f"unfinished runs here: {left.id}"):
            resume(wrong, here)
    (left.path / "run.json").write_text('{"question": 3}')
    with pytest.raises(JournalError, match="cannot be read: delete"):
        resume(left.id, here)
    left.delete()
    assert unfinished_runs(runs) == ()


def test_a_run_that_is_still_going_is_not_taken_up(library: KnowledgeBase, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    refused: list[str] = []

    class Meddling(Around):
        async def search(
            self, query: str, *, k: int, mode: Mode, where: Where, timeout: float
        ) -> Ranking:
            if not refused:
                (going,) = unfinished_runs(runs)
                with pytest.raises(JournalError) as error:
                    resume(going.id, over(library, library.corpus, runs))
                refused.append(str(error.value))
            return await super().search(query, k=k, mode=mode, where=where, timeout=timeout)

    receipt = ask(QUESTION, over(library, Meddling(library.corpus), runs))
    assert "is still going in another process" in refused[0]
    assert receipt.outcome.kind == "quotes"


def test_a_reader_needs_no_lock_of_the_store(tmp_path: Path) -> None:
    root = make_chain(tmp_path / "store")
    with (
        Store.open(root) as writer,
        writer._parts.lock.held(1),
        open_chain(root, keep=True) as library,
    ):
        receipt = ask(QUESTION, library)
    assert receipt.outcome.kind == "quotes"
    assert receipt.environment.run


def test_a_checkpoint_holds_no_passage(library: KnowledgeBase, tmp_path: Path) -> None:
    runs, killed = tmp_path / "runs", tmp_path / "killed"

    class Snapping(Reader):
        wanted = ("born at",)

        def answer(self, request: ChatRequest) -> object:
            shutil.copytree(runs, killed)
            return super().answer(request)

    kept = over(library, library.corpus, runs)
    ask(QUESTION, kept, model=reading(Snapping()), settings=QUOTES)
    stored = b"".join(path.read_bytes() for path in killed.rglob("state.db*"))
    assert b"born at Tarn Hollow" in stored  # the quote
    assert b"learnt to read the stars" not in stored  # the rest of its passage


# Types


def reachable(kind: object, found: set[type]) -> set[type]:
    """Every dataclass that a value of a type may hold."""
    if isinstance(kind, type) and is_dataclass(kind) and kind not in found:
        found.add(kind)
        for hint in get_type_hints(kind).values():
            reachable(hint, found)
    for part in typing.get_args(kind):
        reachable(part, found)
    return found


def reachable_in(update: type) -> set[type]:
    """Every dataclass in the fields of a node's update."""
    found: set[type] = set()
    for hint in get_type_hints(update).values():
        reachable(hint, found)
    return found


def test_every_record_of_the_state_is_registered() -> None:
    updates = {*reachable(RunState, set()), *reachable_in(StateUpdate)}
    assert updates - {RunState} == set(REGISTERED)


def test_the_walk_finds_what_it_should() -> None:
    found = reachable(RunContext, set())
    assert {RunSettings, RunContext} <= found
    assert types.Need in reachable(RunState, set())


def example(kind: object) -> object:
    """Some value of a type, with every optional part there."""
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**{name: example(hint) for name, hint in get_type_hints(kind).items()})
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return parts[-1]
    if origin is tuple:
        return tuple(example(p) for p in parts if p is not Ellipsis) * (2 if ... in parts else 1)
    if parts:  # a union
        return example(parts[0])
    return {str: "é \u2028", int: 3, float: 0.1, bool: True}[typing.cast("type", kind)]


def test_records_come_back_as_they_were() -> None:
    serde = Serializer()
    for kind in REGISTERED:
        value = example(kind)
        same(serde.loads_typed(serde.dumps_typed(value)), value)
    for value in ([1, (2, [3, ()])], {"a": (1,), "b": [{"c": ((),)}]}, None, "text"):
        same(serde.loads_typed(serde.dumps_typed(value)), value)
    state = example(RunState)
    for field in fields(RunState):
        value = getattr(state, field.name)
        same(serde.loads_typed(serde.dumps_typed(value)), value, field.name)


@given(
    st.lists(
        st.builds(
            types.Evidence, id=st.text(max_size=4), document_id=st.text(max_size=4),
            passage_id=st.text(max_size=4), title=st.text(max_size=9), start=st.integers(0, 2**40),
            end=st.integers(0, 2**40), quote=st.text(max_size=30),
            confidence=st.floats(0, 1), score=st.floats(0, 1), round=st.integers(0, 9),
            query=st.text(max_size=9),
        ),
        max_size=3,
    )
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_evidence_of_any_content_comes_back(items: list[types.Evidence]) -> None:
    serde = Serializer()
    value = tuple(items)
    same(serde.loads_typed(serde.dumps_typed(value)), value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A type that no state holds."""

    command: str


def test_no_foreign_object_comes_out_of_a_checkpoint() -> None:
    serde = Serializer()
    for value in (Foreign(command="rm"), (Foreign(command="rm"),), Budget()):
        written = serde.dumps_typed(value)
        try:
            back = serde.loads_typed(written)
        except Exception:
            continue
        parts = back if isinstance(back, tuple | list) else (back,)
        assert not any(isinstance(part, Foreign | Budget) for part in parts)


def test_importing_hoptrail_sets_no_variable_of_the_process() -> None:
    code = (
        "import os; before = dict(os.environ); import hoptrail, hoptrail.agents, hoptrail.evals, "
        "hoptrail.app.cli.main; print(dict(os.environ) == before)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "True\n"


def test_the_run_is_named_in_the_receipt(library: KnowledgeBase, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    receipt: Receipt = ask(QUESTION, over(library, library.corpus, runs))
    assert len(receipt.environment.run) == 10
    assert ask(QUESTION, library).environment.run == ""
    assert said(ChatRequest(messages=(), schema=None, schema_name="", max_tokens=1)) == ""
