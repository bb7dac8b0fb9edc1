"""Reading passages with a model: what is asked, what is kept, what it costs, what is lost."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.agents import CHAIN, make_chain, page, said

from hoptrail.agents.budget.ledger import Budget
from hoptrail.agents.indexing.graph_builder import (
    NO_LIMIT,
    GraphBuildEvent,
    GraphBuildProgress,
    GraphBuildReport,
    PassageFailed,
    build_graph,
)
from hoptrail.agents.indexing.graph_estimate import GraphBuildEstimate, estimate_graph
from hoptrail.agents.indexing.triple_extraction import TriplesForm, reply_tokens, size
from hoptrail.agents.llm.delimiters import Delimiters
from hoptrail.agents.llm.reply_schema import json_reply
from hoptrail.agents.llm.scripted import ScriptedEndpoint, doubled
from hoptrail.agents.llm.types import AttemptFailed, ChatReply, ChatRequest
from hoptrail.rag.errors import BackendRefused, ModelError, SettingsError, StoreBusy
from hoptrail.rag.fsck import fsck
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.text.tokens import count_tokens

ALL = len(CHAIN)


@pytest.fixture
def graph_store(tmp_path: Path) -> Iterator[Store]:
    make_chain(tmp_path, graph="links")
    with Store.open(tmp_path) as opened:
        yield opened


def title_of(request: ChatRequest) -> str:
    found = re.search(r"^Title: (.*)$", said(request), re.MULTILINE)
    assert found is not None
    return found[1]


def reads(request: ChatRequest) -> str:
    """One triple that stands in the passage: its title, and its last word."""
    last = re.findall(r"\w+", said(request).rpartition("\n</")[0])[-1]
    return json.dumps({"triples": [[title_of(request), "ends with", last]]})


def endpoint(script: Any = reads, **options: Any) -> ScriptedEndpoint:  # noqa: ANN401
    return ScriptedEndpoint(script, **options)


def run(
    store: Store,
    model: ScriptedEndpoint,
    limit: int | None = None,
    **options: Any,  # noqa: ANN401
) -> GraphBuildReport:
    async def main() -> GraphBuildReport:
        return await build_graph(
            store, model, await estimate_graph(store, model, limit=limit), **options
        )

    return asyncio.run(main())


def cost(store: Store, model: ScriptedEndpoint, limit: int | None = None) -> GraphBuildEstimate:
    return asyncio.run(estimate_graph(store, model, limit=limit))


def triples(store: Store) -> list[tuple[str, str, str]]:
    with store.snapshot().graph() as links:
        found = links.triples(range(100))
    return sorted((one.subject, one.relation, one.object) for one in found)


def test_every_passage_is_read_once_and_its_triples_are_in_the_graph(
    graph_store: Store, tmp_path: Path
) -> None:
    events: list[GraphBuildEvent] = []
    report = run(graph_store, endpoint(), on_event=events.append)
    assert (report.stop, report.read, report.triples, report.unread) == ("done", ALL, ALL, 0)
    assert (report.failed, report.invented, report.gone, report.flags) == (0, 0, 0, 0)
    assert report.usage.calls == ALL
    assert ("Tarn Hollow", "ends with", "there") in triples(graph_store)
    last = events[-1]
    assert isinstance(last, GraphBuildProgress)
    assert (last.done, last.total, last.tokens) == (ALL, ALL, report.usage.tokens)
    again = endpoint()
    assert run(graph_store, again).read == 0
    assert again.requests == []
    assert fsck(tmp_path).clean


def test_the_passage_is_data_within_the_tenants_fence(graph_store: Store) -> None:
    model = endpoint()
    run(graph_store, model)
    word = Delimiters.of(graph_store.secret).word
    (hostile,) = [one for one in model.requests if "ignore all previous" in said(one)]
    assert said(hostile).startswith(f"<{word} passage>\nTitle: Bellwether\nSYSTEM: ignore")
    assert said(hostile).endswith(f"\n</{word}>")
    assert said(hostile).count(word) == 2
    assert word not in hostile.messages[0].content
    assert hostile.schema == json_reply(TriplesForm).schema
    assert hostile.temperature == 0.0


def test_what_cannot_be_stored_or_stands_twice_is_tidied(graph_store: Store) -> None:
    reply = '{"triples": [["Heron", " sails\\n the ", "north"], ["Heron", "sails the", "north"], '
    reply += '["Heron", "is", "Moscow"], ["  ", "x", "Heron"]]}'

    def script(request: ChatRequest) -> str:
        return reply if title_of(request) == "Heron (river)" else '{"triples": []}'

    report = run(graph_store, endpoint(script))
    assert (report.read, report.triples, report.invented) == (ALL, 1, 2)
    assert triples(graph_store) == [("Heron", "sails the", "north")]


def test_a_reply_that_was_cut_off_is_not_read(graph_store: Store) -> None:
    def script(request: ChatRequest) -> ChatReply | str:
        if title_of(request) != "Bellwether":
            return reads(request)
        return ChatReply(text=reads(request), finish_reason="length", usage=None, model="m")

    model = endpoint(script)
    events: list[GraphBuildEvent] = []
    report = run(graph_store, model, on_event=events.append)
    assert (report.read, report.failures, report.unread) == (ALL - 1, {"length": 1}, 1)
    assert "Bellwether" not in {subject for subject, *_ in triples(graph_store)}
    (failed,) = [one for one in events if isinstance(one, PassageFailed)]
    assert (failed.document_id, failed.start, failed.failure) == ("d7", 0, "length")
    assert "cut off" in failed.detail
    # Asked once more, and no third time; the server reported no usage, so all of it counts.
    assert sum(title_of(one) == "Bellwether" for one in model.requests) == 2
    assert report.flags == 2


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "no",
        "[]",
        '{"triples": [["a", "\\ud800", "b"]]}',
        '{"triples": [["a", "b"]]}',
        '{"x": 1}',
    ],
)
def test_garbage_is_counted_and_tried_again_after_all_others(
    graph_store: Store, garbage: str
) -> None:
    report = run(graph_store, endpoint(lambda _: garbage), limit=3)
    assert (report.read, report.failures, report.triples) == (0, {"parse": 3}, 0)
    assert (report.usage.calls, report.unread) == (6, ALL)
    plan = cost(graph_store, endpoint())
    assert (plan.failed_before, plan.rows.tolist()) == (3, [3, 4, 5, 6, 7, 0, 1, 2])
    assert run(graph_store, endpoint()).unread == 0


def test_a_second_reply_may_be_better(graph_store: Store) -> None:
    seen: set[str] = set()

    def script(request: ChatRequest) -> str:
        first = title_of(request) not in seen
        seen.add(title_of(request))
        return "hm" if first else reads(request)

    report = run(graph_store, endpoint(script))
    assert (report.read, report.usage.calls, report.failed) == (ALL, 2 * ALL, 0)


def test_the_estimate_is_what_is_then_reported(graph_store: Store) -> None:
    model = endpoint()
    plan = cost(graph_store, model)
    assert model.requests == []
    assert (plan.passages, plan.unread, plan.failed_before) == (ALL, ALL, 0)
    assert (plan.model, plan.counted_by) == ("scripted", "tiktoken")
    report = run(graph_store, model)
    assert report.usage.prompt_tokens == plan.prompt_tokens
    most = sum(reply_tokens(count_tokens(text)) for _, text in CHAIN.values())
    assert plan.most_reply_tokens == most
    assert report.usage.completion_tokens <= plan.reply_tokens <= most
    assert cost(graph_store, model).prompt_tokens == 0


def test_a_server_that_counts_scales_the_estimate(graph_store: Store) -> None:
    plan = cost(graph_store, endpoint(tokenizes=True, count=doubled))
    plain = cost(graph_store, endpoint())
    assert plan.counted_by == "server"
    # Both have four tokens a message for the template, which the scripted server does not double.
    assert 1.9 * plain.prompt_tokens < plan.prompt_tokens < 2 * plain.prompt_tokens
    assert plan.most_reply_tokens == plain.most_reply_tokens
    fence = Delimiters.of(graph_store.secret)
    (first,) = graph_store.resolve([0])
    assert first is not None
    assert cost(graph_store, endpoint(), limit=1).prompt_tokens == size(first, fence).prompt


def test_a_limit_reads_so_many_and_the_next_build_the_rest(graph_store: Store) -> None:
    model = endpoint()
    reports = [run(graph_store, model, limit=3) for _ in range(4)]
    assert [(one.read, one.unread, one.stop) for one in reports] == [
        (3, 5, "done"), (3, 2, "done"), (2, 0, "done"), (0, 0, "done"),
    ]  # fmt: skip
    assert len(model.requests) == ALL


def test_models_read_for_themselves(graph_store: Store) -> None:
    run(graph_store, endpoint(model="a"))
    report = run(graph_store, endpoint(model="b"))
    assert (report.read, report.triples, report.model) == (ALL, 0, "b")


@settings(
    max_examples=12, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(
    calls=st.integers(0, 12),
    tokens=st.integers(0, 9_000),
    parallel=st.integers(1, 9),
    lies=st.booleans(),
    garbage=st.sets(st.sampled_from([title for title, _ in CHAIN.values()])),
)
def test_no_budget_is_overshot_and_nothing_that_was_read_is_lost(
    tmp_path_factory: pytest.TempPathFactory,
    calls: int,
    tokens: int,
    parallel: int,
    lies: bool,
    garbage: set[str],
) -> None:
    root = make_chain(tmp_path_factory.mktemp("budget"), graph="links")
    model = endpoint(
        lambda request: "hm" if title_of(request) in garbage else reads(request),
        usage=lambda honest: None if lies else honest,
    )
    with Store.open(root) as store:
        budget = Budget(calls=calls, tokens=tokens, seconds=1000.0)
        report = run(store, model, budget=budget, parallel=parallel)
        assert report.usage.calls == len(model.requests) <= calls
        assert report.usage.tokens <= tokens
        assert report.read + report.unread == ALL
        assert report.triples == store.stats().triples == report.read
        if report.stop == "done":
            assert report.read + report.failed == ALL
        else:
            assert report.stop in ("out_of_calls", "out_of_tokens")
        rest = run(store, endpoint())
        assert (rest.read, rest.unread, store.stats().triples) == (report.unread, 0, ALL)


def test_what_readings_in_flight_leave_of_the_budget_is_used(graph_store: Store) -> None:
    """All at once would reserve more than there is; one after another they fit."""
    alone = run(graph_store, endpoint(model="first"), parallel=1)
    room = 4 * max(len(text) for _, text in CHAIN.values()) + 4000
    budget = Budget(calls=99, tokens=alone.usage.tokens + room, seconds=1000.0)
    report = run(graph_store, endpoint(model="second"), budget=budget, parallel=9)
    assert (report.stop, report.read) == ("done", ALL)


def test_a_graph_build_ends_when_its_seconds_are_over(graph_store: Store) -> None:
    report = run(graph_store, endpoint(), budget=Budget(calls=9, tokens=99_999, seconds=1e-9))
    assert (report.stop, report.read, report.unread) == ("out_of_time", 0, ALL)


def after(count: int, act: Callable[[], None]) -> Callable[[GraphBuildEvent], None]:
    """A listener that acts once so many passages are done."""

    def listen(event: GraphBuildEvent) -> None:
        if isinstance(event, GraphBuildProgress) and event.done == count:
            act()

    return listen


def test_an_interrupted_build_keeps_what_it_read_and_goes_on(graph_store: Store) -> None:
    cancel = asyncio.Event()
    report = run(graph_store, endpoint(), parallel=1, cancel=cancel, on_event=after(3, cancel.set))
    assert (report.stop, report.read, report.triples) == ("interrupted", 3, 3)
    assert (report.unread, graph_store.stats().triples) == (ALL - 3, 3)
    rest = run(graph_store, endpoint())
    assert (rest.stop, rest.read) == ("done", ALL - 3)


def test_a_build_that_is_cut_off_keeps_what_it_read(graph_store: Store) -> None:
    async def main() -> None:
        model = endpoint()
        plan = await estimate_graph(graph_store, model)
        loop = asyncio.get_running_loop()
        task = loop.create_task(
            build_graph(
                graph_store, model, plan, parallel=1, on_event=after(3, lambda: bool(task.cancel()))
            )
        )
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    kept = graph_store.stats().triples
    assert 3 <= kept < ALL
    assert len(graph_store.unread("scripted").rows) == ALL - kept


def test_a_listener_that_fails_costs_nothing_that_was_read(graph_store: Store) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(graph_store, endpoint(), parallel=1, on_event=after(2, broken))
    assert graph_store.stats().triples >= 2


def test_a_commit_that_was_refused_is_tried_again_at_the_end(
    graph_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = Store.save_extractions, []

    def busy(self: Store, model: str, readings: Any) -> Any:  # noqa: ANN401
        if not refused:
            refused.append(readings)
            raise StoreBusy("another process writes")
        return real(self, model, readings)

    monkeypatch.setattr(Store, "save_extractions", busy)
    monkeypatch.setattr("hoptrail.agents.indexing.batch_runner._BATCH_SECONDS", 0.0)
    with pytest.raises(StoreBusy):
        run(graph_store, endpoint(), parallel=2)
    assert graph_store.stats().triples >= len(refused[0])


def test_a_document_replaced_while_it_is_read_gets_no_old_triples(graph_store: Store) -> None:
    def script(request: ChatRequest) -> str:
        if title_of(request) == "Tarn Hollow":
            title, text = CHAIN["d3"]
            graph_store.commit([page("d3", title, text.replace("Slate", "Peat!"))], ["d5"])
        return reads(request)

    report = run(graph_store, endpoint(script), parallel=1)
    # d3 was in the model's hands; d5 was fetched with the same page as all others.
    assert (report.gone, report.read, report.unread) == (2, ALL - 2, 1)
    assert "Tarn Hollow" not in {subject for subject, *_ in triples(graph_store)}
    assert run(graph_store, endpoint()).read == 1


def test_passages_that_were_gone_before_their_turn_are_counted(graph_store: Store) -> None:
    model = endpoint()

    async def main() -> GraphBuildReport:
        plan = await estimate_graph(graph_store, model)
        graph_store.commit([], ["d1", "d2"])
        return await build_graph(graph_store, model, plan)

    report = asyncio.run(main())
    assert (report.gone, report.read, report.unread) == (2, ALL - 2, 0)


def test_a_server_that_dies_leaves_the_rest_unread_and_unblamed(graph_store: Store) -> None:
    def script(request: ChatRequest) -> AttemptFailed | str:
        if title_of(request) in ("Heron (ship)", "Ilsa Corrin"):
            return reads(request)
        return AttemptFailed("connection", "gone", spent=True)

    report = run(graph_store, endpoint(script), parallel=1)
    assert (report.stop, report.read, report.failed) == ("model_unavailable", 2, 0)
    assert (report.unread, cost(graph_store, endpoint()).failed_before) == (ALL - 2, 0)


def test_one_refusal_is_the_passages_many_are_the_servers(graph_store: Store) -> None:
    def picky(request: ChatRequest) -> AttemptFailed | str:
        if title_of(request) == "Bellwether":
            return AttemptFailed("bad_request", "content policy")
        return reads(request)

    report = run(graph_store, endpoint(picky))
    assert (report.stop, report.failures) == ("done", {"refused_by_server": 1})
    model = endpoint(lambda _: AttemptFailed("unauthorised", "who?"), model="other")
    graph_store.commit([page(f"e{n}", f"Page {n}", "Text.") for n in range(20)])
    report = run(graph_store, model, parallel=1)
    assert (report.stop, report.read) == ("model_unavailable", 0)
    assert len(model.requests) < 12


def test_a_passage_longer_than_the_servers_window_fails_alone(graph_store: Store) -> None:
    graph_store.commit([page("long", "Long", "Fog hides Port Saben. " * 200)])
    report = run(graph_store, endpoint(max_model_len=1024, tokenizes=True))
    assert (report.stop, report.failures) == ("done", {"overlong": 1})
    assert report.read == ALL


def test_a_server_without_schemas_is_told_the_schema(graph_store: Store) -> None:
    model = endpoint(lambda r: reads(r) if "Title: " in said(r) else "sky", enforces_schema=None)
    report = run(graph_store, model)
    assert (report.read, report.usage.calls) == (ALL, ALL + 1)
    assert "fits this JSON Schema" in said(model.requests[-1])


def test_the_refusal_of_the_salt_is_told(graph_store: Store) -> None:
    def script(request: ChatRequest) -> ChatReply:
        return ChatReply(
            text=reads(request), finish_reason="stop", usage=None, model="m",
            without=("cache_salt",),
        )  # fmt: skip

    assert run(graph_store, endpoint(script)).without_salt
    assert not run(graph_store, endpoint(model="b")).without_salt


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": -1}, {"parallel": 0}, {"parallel": 33}])
def test_wrong_numbers_are_refused(graph_store: Store, wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match="A build reads"):
        run(graph_store, endpoint(), **wrong)


def test_a_store_without_a_graph_is_refused(tmp_path: Path) -> None:
    spec = StoreSpec(embedder="hash-64", dimension=64, graph="none")
    with Store.create(tmp_path, spec) as bare, pytest.raises(BackendRefused, match="graph 'none'"):
        cost(bare, endpoint())


def test_an_empty_store_is_done_at_once(tmp_path: Path) -> None:
    make_chain(tmp_path, {}, graph="links")
    with Store.open(tmp_path) as empty:
        assert cost(empty, endpoint(tokenizes=True)).passages == 0
        assert run(empty, endpoint()).stop == "done"


def test_a_server_that_fails_the_probe_is_an_error(graph_store: Store) -> None:
    model = endpoint(lambda _: AttemptFailed("server_error", "boom"), enforces_schema=None)
    with pytest.raises(ModelError, match="does not answer"):
        run(graph_store, model)


def test_the_default_budget_is_no_limit() -> None:
    assert (NO_LIMIT.calls, NO_LIMIT.tokens, NO_LIMIT.seconds) == (10**9, 10**15, 1e9)
