"""`hoptrail tree build` as it is typed, without a model and against a server on loopback."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.chat_server import Exchange, FakeServer, hang, says, status
from support.cli import RECORDS, cli, error, make_store, records, stopped_twice

from hoptrail.app.cli.commands import build_report
from hoptrail.app.text import duration
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.invariants import tree_faults
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import FANOUT, ROOT, Tree
from hoptrail.rag.tree.update import stale_nodes
from hoptrail.rag.tree.view import load_tree

PROBE = says('{"word": "qzv7kx"}')
SUMMARY = {"items": ["a record"], "shared": "harbours", "summary": "Records about the harbour"}


@pytest.fixture(scope="module")
def texts() -> Mapping[str, str]:
    return RECORDS


async def sums_up(exchange: Exchange) -> None:
    """Whatever is asked, the summary of some records."""
    assert exchange.request.body is not None
    if exchange.request.body["response_format"]["json_schema"]["name"] == "probe":
        await PROBE(exchange)
        return
    await says(json.dumps(SUMMARY))(exchange)


def build(store: Path, *more: object) -> tuple[Any, ...]:
    return ("tree", "build", "--store", store, "--fanout", 3, "--method", "bottom-up", *more)


def lines(*command: object) -> list[dict[str, Any]]:
    return records(cli(*command).stdout)


def tree(store: Path) -> Tree:
    with Store.open(store) as opened:
        found = load_tree(opened)
        leaves = StoreLeaves(opened, found.spec.over)
        assert tree_faults(found, leaves.rows().tolist(), leaves.vectors) == []
        return found


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "1 s"), (7.4, "7 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h")],
)
def test_how_long_it_lasts_is_said_in_one_unit(seconds: float, said: str) -> None:
    assert duration(seconds) == said


# without a model


def test_a_tree_is_built_in_seconds_and_said(store: Path) -> None:
    result = cli("tree", "build", "--store", store, "--fanout", 3)
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(
        r"12 passages below \d+ nodes in \d layers, bottom-up; \d+\.\d s\n", result.stdout
    )
    made = tree(store)
    assert (made.spec.fanout, made.spec.over, made.spec.model) == (3, "passages", "")
    with Store.open(store) as opened:
        assert made.spec.embedder == opened.spec.embedder


def test_the_report_as_json_and_the_options_that_say_how(store: Path) -> None:
    more = ("--method", "top-down", "--over", "documents", "--json")
    (built,) = lines(*build(store), *more)
    made = tree(store)
    assert (built["event"], built["method"], built["over"]) == ("built", "top-down", "documents")
    assert (built["leaves"], built["inner_nodes"]) == (12, len(made.nodes))
    assert built["depth"] == 1 + max(made.depth(one) for one in made.nodes)
    assert made.spec.method == "top-down"


def test_the_fan_out_is_that_of_the_paper_unless_told(store: Path) -> None:
    assert cli("tree", "build", "--store", store).exit_code == 0
    assert tree(store).spec.fanout == FANOUT
    assert len(tree(store).nodes) == 1


def test_a_second_build_takes_the_place_of_the_first(store: Path) -> None:
    assert cli(*build(store)).exit_code == 0
    first = tree(store).generation
    assert cli(*build(store, "--fanout", 2)).exit_code == 0
    assert (tree(store).spec.fanout, tree(store).generation > first) == (2, True)


def test_a_dry_run_without_a_model_builds_nothing(store: Path) -> None:
    said = cli(*build(store, "--dry-run")).stdout
    assert said == (
        "12 passages, bottom-up, without a model: it costs nothing and takes about 1 s\n"
    )
    (plan,) = lines(*build(store, "--dry-run", "--json"))
    assert (plan["event"], plan["leaves"], plan["calls"]) == ("estimate", 12, 0)
    assert "has no tree" in error("tree", "show", "--store", store)


def test_ctrl_c_leaves_the_tree_that_was_there(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*build(store)).exit_code == 0
    before = tree(store).generation

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hoptrail.rag.tree.builders.build.build_tree", interrupted)
    result = cli(*build(store, "--fanout", 2))
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
    assert (tree(store).generation, tree(store).spec.fanout) == (before, 3)


def test_a_store_without_documents_has_a_tree_that_grows(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", {"d": "text"})
    assert cli("delete", "d", "--store", root).exit_code == 0
    result = cli("tree", "build", "--store", root)
    assert result.stdout.startswith("0 passages below 1 node in 1 layer, ")
    corpus = tmp_path / "c.jsonl"
    corpus.write_text(json.dumps({"id": "e", "title": "e", "text": "Some harbour."}))
    grown = cli("ingest", corpus, "--store", root, "--embedder", "hash")
    assert "the tree has grown with it: 1 leaf" in grown.stderr
    assert tree(root).nodes[ROOT].count == 1


def test_wrong_options_are_refused(store: Path) -> None:
    line = error("tree", "build", "--store", store, "--method", "middle-out", code=2)
    assert line == (
        "error: There is no --method 'middle-out': choose auto or bottom-up or top-down."
    )
    line = error("tree", "build", "--store", store, "--over", "words", code=2)
    assert line == "error: There is no --over 'words': choose passages or documents."
    line = error("tree", "build", "--store", store, "--fanout", 1, code=2)
    assert line == "error: A tree needs --fanout 2 or more, not 1."
    assert "is of no use without its server" in error(*build(store, "--model-name", "x"), code=2)
    assert "No store is named" in error("tree", "build", code=2)
    assert "No store of tenant" in error("tree", "build", "--store", store.parent / "none")
    assert "has no tree" in error("tree", "show", "--store", store)


def test_one_builds_at_a_time(store: Path) -> None:
    with TreeFile(Layout(root=store, tenant="default")).building():
        line = error(*build(store, "--wait", 0))
    assert "is in use by process" in line
    assert cli(*build(store)).exit_code == 0


# with a model


def test_a_tree_build_says_its_cost_then_builds_and_reports(store: Path) -> None:
    with FakeServer(sums_up) as server:
        result = cli(*build(store, "--model", server.url))
        asked = len(server.chats) - 1
    assert result.exit_code == 0, result.output
    what, calls, prompts, replies, lasts, *rest = result.stdout.splitlines()
    built, answered, cost, stopped = rest
    assert what == "12 passages, bottom-up, texts by 'fake'"
    assert re.fullmatch(r"To ask now: about \d+ calls", calls)
    assert re.fullmatch(r"Prompts: about [\d,]+ tokens by tiktoken's count", prompts)
    assert replies.startswith("Replies: about ")
    assert re.match(r"Time: about \d+ s if the server writes 100 tokens a second", lasts)
    assert built.startswith("12 passages below ")
    assert answered == f"{asked} questions answered, 0 failed"
    assert cost.startswith(f"Cost: {asked + 1} model calls, ")
    assert stopped == "It stopped because the tree is whole"
    made = tree(store)
    assert made.spec.model == "fake"
    texts = {node.text for node in made.nodes.values() if node.number != ROOT}
    assert texts == {"Records about the harbour"}
    assert "texts by fake" in cli("tree", "show", "--store", store).stdout


def test_a_dry_run_asks_the_model_nothing(store: Path) -> None:
    with FakeServer(sums_up, tokenize=len) as server:
        (plan,) = lines(*build(store, "--model", server.url, "--dry-run", "--json"))
        assert server.chats == []
    assert (plan["event"], plan["leaves"], plan["kept"]) == ("estimate", 12, 0)
    assert plan["calls"] > 3
    assert plan["counted_by"] == "server"
    assert "has no tree" in error("tree", "show", "--store", store)


def test_a_tree_build_out_of_budget_goes_on_in_the_next(store: Path) -> None:
    with FakeServer(sums_up) as server:
        command = build(store, "--model", server.url, "--parallel", 1)
        short = cli(*command, "--budget-calls", 3)
        assert short.exit_code == 1
        assert "What was answered is kept: the same command goes on.\n" in short.stdout
        assert short.stdout.endswith("It stopped because the budget has no call left\n")
        assert "has no tree" in error("tree", "show", "--store", store)
        whole = cli(*command)
    assert whole.exit_code == 0
    assert ", 2 answered by an earlier build\n" in whole.stdout
    assert re.search(r"\d questions answered, 2 kept from an earlier build, 0 failed", whole.stdout)
    assert tree(store).spec.model == "fake"


def test_replies_that_cannot_be_used_are_told_and_the_tree_is_whole(store: Path) -> None:
    with FakeServer(PROBE, says("never")) as server:
        result = cli(*build(store, "--model", server.url, "--json"))
    events = records(result.stdout)
    assert result.exit_code == 0
    assert {one["event"] for one in events} == {"estimate", "failed", "built", "report"}
    assert "failed: summary: no reply that could be read" in result.stderr
    assert events[-1]["failed"] == sum(one["event"] == "failed" for one in events)
    assert events[-1]["failures"] == {"parse": events[-1]["failed"]}
    assert all(node.text for node in tree(store).nodes.values() if node.number != ROOT)


def test_a_server_that_dies_is_told_and_what_was_answered_stays(store: Path) -> None:
    answer = says(json.dumps(SUMMARY))
    with FakeServer(PROBE, answer, status(401)) as server:
        result = cli(*build(store, "--model", server.url, "--parallel", 1, "--json"))
    report = records(result.stdout)[-1]
    assert report["answered"] == 1
    assert result.exit_code == (0 if report["stop"] == "done" else 1)
    assert "No model server answers" in error(*build(store, "--model", "http://127.0.0.1:9"))


def test_from_the_top_down_no_embedder_is_needed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise AssertionError("nothing is embedded")

    monkeypatch.setattr("hoptrail.app.cli.commands.tree_build.embedder_of", missing)
    with FakeServer(PROBE, says("never")) as server:
        result = cli(*build(store, "--model", server.url, "--method", "top-down"))
    assert result.exit_code == 0, result.output
    assert tree(store).spec.method == "top-down"


def test_texts_of_a_model_that_have_grown_old_are_told(store: Path) -> None:
    with FakeServer(sums_up) as server:
        assert cli(*build(store, "--model", server.url)).exit_code == 0
    told = cli("delete", *(f"d{at}" for at in range(5)), "--store", store).stderr
    assert "the tree has grown with it: 7 leaves below " in told
    assert re.search(
        r"\d texts? of the tree no longer tell what is below: hoptrail tree build --refresh "
        r"--store .* --model URL writes them anew\n$",
        told,
    )


async def sums_up_anew(exchange: Exchange) -> None:
    """As `sums_up`, in other words."""
    assert exchange.request.body is not None
    if exchange.request.body["response_format"]["json_schema"]["name"] == "probe":
        await PROBE(exchange)
        return
    await says(json.dumps({**SUMMARY, "summary": "What is left about the harbour"}))(exchange)


def test_texts_that_have_grown_old_are_written_again_and_no_others(store: Path) -> None:
    with FakeServer(sums_up) as server:
        assert cli(*build(store, "--model", server.url)).exit_code == 0
    assert cli("delete", "d0", "--store", store).exit_code == 0
    old = stale_nodes(tree(store))
    with FakeServer(sums_up_anew) as server:
        refreshing = ("tree", "build", "--refresh", "--store", store, "--model", server.url)
        result = cli(*refreshing, "--json")
        assert result.exit_code == 0
        report = records(result.stdout)[-1]
        assert cli(*refreshing).exit_code == 0
    new = tree(store)
    assert stale_nodes(new) == ()
    assert report["answered"] == len(old)
    changed = {node.number for node in new.walk() if "left" in node.text}
    assert changed == set(old)


def test_refreshing_needs_a_model_and_texts_of_one(store: Path) -> None:
    assert "--model" in error("tree", "build", "--refresh", "--store", store, code=2)
    more = ("--refresh", "--model", "http://127.0.0.1:1/v1")
    assert "has no tree" in error("tree", "build", "--store", store, *more)
    assert cli(*build(store)).exit_code == 0
    assert "own words" in error("tree", "build", "--store", store, *more, code=2)


@pytest.mark.parametrize("agreed", [True, False])
def test_at_a_terminal_it_asks_first(
    store: Path, monkeypatch: pytest.MonkeyPatch, agreed: bool
) -> None:
    questions: list[str] = []

    def confirm(text: str, err: bool) -> bool:
        assert err
        questions.append(text)
        return agreed

    monkeypatch.setattr(build_report, "_at_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", confirm)
    with FakeServer(sums_up) as server:
        result = cli(*build(store, "--model", server.url))
        assert (len(server.chats) > 0) is agreed
        assert ("nothing was built" in result.stderr) is not agreed
        assert cli(*build(store, "--model", server.url, "--yes")).exit_code == 0
    before = tree(store).generation
    alone = cli(*build(store))
    assert alone.exit_code == 0
    assert questions == ["Build it now?", "'fake' wrote the tree that is there. Replace it?"]
    assert (tree(store).generation > before) is agreed


def test_ctrl_c_keeps_what_was_answered_and_the_next_build_goes_on(store: Path) -> None:
    answer = says(json.dumps(SUMMARY))
    with FakeServer(PROBE, answer, hang) as server:
        command = build(store, "--model", server.url, "--parallel", 1, "--json")
        code, told = stopped_twice(command, server, "finishing what is being asked")
    assert code == 130
    assert "what was answered is kept" in told
    with FakeServer(sums_up) as server:
        *_, report = lines(*build(store, "--model", server.url, "--json"))
    assert report["kept"] == 1
    assert tree(store).spec.model == "fake"


def test_the_model_of_a_settings_file_builds_no_tree(store: Path, tmp_path: Path) -> None:
    settings = tmp_path / "h.toml"
    settings.write_text('[model]\nurl = "http://127.0.0.1:9/v1"\n')
    result = cli(*build(store, "--settings", settings))
    assert result.exit_code == 0
    assert tree(store).spec.model == ""


def test_help_names_the_default() -> None:
    assert f"[default: {FANOUT}]" in cli("tree", "build", "--help").stdout
