"""`hoptrail graph build` as it is typed, against a server on loopback."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.chat_server import Exchange, FakeServer, hang, says, status
from support.cli import TEXTS, cli, error, records, stopped_twice

from hoptrail.app.cli.progress import BuildBar
from hoptrail.rag.store.store import Store, StoreSpec

PROBE = says('{"word": "qzv7kx"}')
ALL = len(TEXTS)


async def reads(exchange: Exchange) -> None:
    """One triple of each passage: its title, and the year or number in it, if any."""
    assert exchange.request.body is not None
    if exchange.request.body["response_format"]["json_schema"]["name"] == "probe":
        await PROBE(exchange)
        return
    asked = exchange.request.body["messages"][1]["content"]
    title = re.findall(r"^Title: (.*)$", asked, re.MULTILINE)[0]
    number = re.findall(r"\d[\d,]*", asked.partition("Title:")[2].rpartition("\n</")[0])
    triples = [[title, "has", number[0]]] if number else []
    await says(json.dumps({"triples": triples}))(exchange)


def build(store: Path, server: FakeServer, *more: object) -> tuple[Any, ...]:
    return ("graph", "build", "--store", store, "--model", server.url, *more)


def lines(store: Path, server: FakeServer, *more: object) -> list[dict[str, Any]]:
    return records(cli(*build(store, server, "--json", *more)).stdout)


def triples(root: Path) -> int:
    with Store.open(root) as opened:
        return opened.stats().triples


def test_a_graph_build_says_its_cost_then_reads_and_reports(store: Path) -> None:
    with FakeServer(reads) as server:
        result = cli(*build(store, server))
        again = cli(*build(store, server))
    assert result.exit_code == 0, result.output
    first, second, prompts, replies, *_, read, cost, stopped = result.stdout.splitlines()
    assert first == "3 passages unread by 'fake'"
    assert second.startswith("To read now: 3 passages, one call each")
    assert re.fullmatch(r"Prompts: about [\d,]+ tokens by tiktoken's count", prompts)
    assert re.match(r"Replies: about \d+ tokens, at most \d+", replies)
    assert read == "3 passages read, 2 new triples, 0 failed; 0 unread"
    assert cost.startswith("Cost: 4 model calls, 40 prompt and 20 reply tokens, ")
    assert stopped == "It stopped because every passage that it was to read was tried"
    assert triples(store) == 2
    assert again.stdout == "0 passages unread by 'fake'\n"
    assert len(server.chats) == 1 + ALL


def test_a_dry_run_asks_the_model_nothing(store: Path) -> None:
    with FakeServer(reads, tokenize=len) as server:
        (plan,) = lines(store, server, "--dry-run", "--limit", 2)
        assert server.chats == []
    assert (plan["event"], plan["passages"], plan["unread"]) == ("estimate", 2, 3)
    assert plan["counted_by"] == "server"
    assert "rows" not in plan
    assert plan["prompt_tokens"] > plan["most_reply_tokens"] > plan["reply_tokens"] > 0
    assert triples(store) == 0


def test_json_has_the_estimate_each_failure_and_the_report(store: Path) -> None:
    async def mostly(exchange: Exchange) -> None:
        assert exchange.request.body is not None
        hopeless = "Title: Altar" in str(exchange.request.body["messages"])
        await (says("never") if hopeless else reads)(exchange)

    with FakeServer(mostly) as server:
        result = cli(*build(store, server, "--json", "--parallel", 1))
        assert result.exit_code == 1
        plan, failed, report = records(result.stdout)
        assert (plan["event"], plan["passages"]) == ("estimate", 3)
        assert (failed["event"], failed["document_id"], failed["failure"]) == (
            "failed", "Altar", "parse",
        )  # fmt: skip
        assert "failed: Altar 0:" in result.stderr
        assert (report["event"], report["read"], report["failures"]) == (
            "report", 2, {"parse": 1},
        )  # fmt: skip
        assert report["usage"]["calls"] == 5
        (plan,) = lines(store, server, "--dry-run")
        assert (plan["unread"], plan["failed_before"]) == (1, 1)
        assert "1 passage unread by 'fake' (1 of them failed before)" in (
            cli(*build(store, server, "--dry-run")).stdout
        )
        text = cli(*build(store, server)).stdout
        assert "1 failed; 1 unread\n  1 × no reply that could be read" in text


def test_a_graph_build_out_of_budget_goes_on_in_the_next(store: Path) -> None:
    with FakeServer(reads) as server:
        *_, report = lines(store, server, "--budget-calls", 3, "--parallel", 1)
        assert (report["stop"], report["read"], report["unread"]) == ("out_of_calls", 2, 1)
        assert len(server.chats) == 3
        *_, report = lines(store, server, "--budget-tokens", 100)
        assert (report["stop"], report["read"]) == ("out_of_tokens", 0)
        result = cli(*build(store, server, "--limit", 5))
    assert "1 passage read" in result.stdout
    assert triples(store) == 2


@pytest.mark.parametrize(("answer", "asked"), [("y\n", 1 + ALL), ("n\n", 0), ("\n", 0)])
def test_at_a_terminal_it_asks_first(
    store: Path, monkeypatch: pytest.MonkeyPatch, answer: str, asked: int
) -> None:
    from hoptrail.app.cli.commands import build_report

    monkeypatch.setattr(build_report, "_at_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda text, err: answer == "y\n")
    with FakeServer(reads) as server:
        result = cli(*build(store, server))
        assert len(server.chats) == asked
        assert ("nothing was read" in result.stderr) is (asked == 0)
        assert result.exit_code == 0
        assert cli(*build(store, server, "--yes")).exit_code == 0
    assert triples(store) == 2


def test_a_server_that_dies_is_told_and_what_was_read_stays(store: Path) -> None:
    with FakeServer(PROBE, reads, status(401)) as server:
        result = cli(*build(store, server, "--parallel", 1, "--json"))
    report = records(result.stdout)[-1]
    assert (result.exit_code, report["read"]) == (1, 1)
    assert report["failures"] == {"refused_by_server": 2}


def test_the_salt_that_a_server_refuses_and_counts_it_invents_are_told(store: Path) -> None:
    refusal = status(400, {"error": {"message": "cache_salt is unknown", "code": 400}})
    absurd = says('{"triples": []}', usage={"prompt_tokens": -1, "completion_tokens": 5})
    with FakeServer(refusal, PROBE, absurd) as server:
        text = cli(*build(store, server)).stdout
    assert "The server refused cache_salt: its prompt cache is shared" in text
    assert "not credible 3 times" in text


def test_wrong_usage_is_refused_before_anything_is_asked(store: Path, tmp_path: Path) -> None:
    with FakeServer(reads) as server:
        assert "No model is named" in error("graph", "build", "--store", store, code=2)
        assert "No store is named" in error("graph", "build", "--model", server.url, code=2)
        assert "No store of tenant" in error(*build(tmp_path / "none", server))
        assert "at least 1 passage" in error(*build(store, server, "--limit", 0), code=2)
        assert "The budget of tokens is -1: " in error(
            *build(store, server, "--budget-tokens", -1), code=2
        )
        result = cli(*build(store, server, "--parallel", 99))
        assert (result.exit_code, "1 to 32" in result.stderr) == (2, True)
        assert server.chats == []
        bare = tmp_path / "bare"
        spec = StoreSpec(embedder="hash-64", dimension=64, graph="none")
        Store.create(bare, spec).close()
        assert "without a passage graph" in error(*build(bare, server))
    assert "No model server answers" in error(
        "graph", "build", "--store", store, "--model", "http://127.0.0.1:9"
    )


def test_ctrl_c_keeps_what_was_read_and_the_next_run_goes_on(store: Path) -> None:
    with FakeServer(PROBE, reads, hang) as server:
        command = build(store, server, "--parallel", 1, "--json")
        code, told = stopped_twice(command, server, "finishing what is being read")
        assert server.hung_up.wait(10)
    assert code == 130
    assert "what was read is kept" in told
    with FakeServer(reads) as server:
        *_, report = lines(store, server)
    assert (report["read"], report["unread"]) == (2, 0)


def test_the_bar_shows_rate_and_counts() -> None:
    screen = io.StringIO()
    with BuildBar(
        "reading", "passages", Console(file=screen, force_terminal=True, width=120)
    ) as bar:
        bar(4, 10, "12 triples, 3,456 tokens")
    assert "4/10" in screen.getvalue()
    assert re.search(r"passages/s, 12 triples, 3,456 tokens", screen.getvalue())
    with BuildBar(
        "reading", "passages", Console(file=screen, force_terminal=True, width=120)
    ) as bar:
        bar(4, 10)
        bar(1, 3, "step 2")
    assert "1/3" in screen.getvalue()
    plain = Console(file=io.StringIO(), force_terminal=False)
    with BuildBar("reading", "passages", plain) as bar:
        bar(1, 1)
    assert plain.file.getvalue() == ""  # type: ignore[attr-defined]
