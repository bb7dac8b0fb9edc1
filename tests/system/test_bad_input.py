"""Bad input of every kind, each with what it is told: one line, what is wrong and what to do."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
import typer
from support.chat_server import FakeServer, hang, html, says, status
from support.cli import COMMAND, TEXTS, cli, error, make_store, process, records

from hoptrail.agents import Receipt, unfinished_runs
from hoptrail.agents.events import Listener
from hoptrail.agents.runs.folder import begin
from hoptrail.agents.runs.request import RunRequest
from hoptrail.app.cli.commands.ask import _interruptible
from hoptrail.rag.store.store import Store

QUESTION = "At which town was the Nightjar launched?"


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For those who only read it."""
    return make_store(tmp_path_factory.mktemp("bad") / "store", TEXTS)


@pytest.fixture
def own_store(tmp_path: Path) -> Path:
    """To be broken."""
    return make_store(tmp_path / "own", TEXTS)


@pytest.mark.parametrize(
    "command",
    [
        ("search", "x", "--store"), ("ask", "x", "--store"), ("delete", "x", "--store"),
        ("resume", "--store"), ("stats",), ("fsck",), ("compact",),
    ],
)  # fmt: skip
def test_no_store(tmp_path: Path, command: tuple[str, ...]) -> None:
    line = error(*command, tmp_path / "none")
    assert line == (
        f"error: No store of tenant 'default' at '{tmp_path / 'none'}'. Make one: "
        f"hoptrail ingest PATH... --store {tmp_path / 'none'}"
    )
    assert not (tmp_path / "none").exists()


def test_no_store_is_named() -> None:
    line = error("search", "x", code=2)
    assert "No store is named: give --store DIR" in line


def test_an_empty_store_answers_that_it_has_nothing(own_store: Path) -> None:
    cli("delete", *TEXTS, "--store", own_store)
    result = cli("ask", QUESTION, "--store", own_store)
    assert result.exit_code == 0
    assert result.stdout.startswith("No answer: nothing in the documents bears on the question.")
    assert cli("search", "Nightjar", "--store", own_store).stderr == "nothing found\n"
    assert cli("fsck", own_store).stdout.startswith("clean: 0 documents, 0 passages")


def test_a_store_that_is_being_written(own_store: Path) -> None:
    with Store.open(own_store) as holder, holder._parts.lock.held(1):
        line = error("delete", "Altar", "--store", own_store, "--wait", "0.1")
        assert f"is in use by process {os.getpid()} on " in line
        assert "Wait until it is done, or stop that process" in line
        assert "is in use by process" in error("fsck", own_store, "--wait", "0.1")
        # Readers go on meanwhile.
        assert cli("search", "altar", "--store", own_store).stdout.startswith(" 1. Altar")


def test_a_broken_lexical_index_is_built_anew_and_said(own_store: Path) -> None:
    (index,) = (own_store / "default").rglob("meta.json")
    index.write_text("{ this is no index")
    result = cli("search", "altar", "--store", own_store)
    assert result.stdout.startswith(" 1. Altar")
    assert result.stderr.startswith("warning: ")
    assert "building it anew" in result.stderr
    assert cli("fsck", own_store).exit_code == 0


def test_a_broken_catalogue(own_store: Path) -> None:
    (own_store / "default" / "catalogue.db").write_bytes(b"not a database" * 1000)
    for suffix in ("-wal", "-shm"):
        (own_store / "default" / f"catalogue.db{suffix}").unlink(missing_ok=True)
    line = error("search", "altar", "--store", own_store)
    assert "The catalogue of" in line
    assert "cannot be read" in line
    assert "ingest again" in line


def test_a_store_of_another_format_version(own_store: Path) -> None:
    import sqlite3

    with sqlite3.connect(own_store / "default" / "catalogue.db") as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE key = 'format'")
    connection.close()
    assert "has format 99; this version reads 1" in error("stats", own_store)


def test_a_full_disk_loses_nothing_acknowledged(tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(120))
    path = tmp_path / "records.jsonl"
    path.write_text(
        "\n".join(json.dumps({"id": str(n), "text": f"{n} {words}"}) for n in range(700))
    )
    store = tmp_path / "store"
    arguments = ("ingest", str(path), "--store", str(store), "--embedder", "hash", "--json")
    full = subprocess.run(
        [*COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, 3_000_000)),
    )  # fmt: skip
    assert full.returncode == 1, full.stderr
    assert "is full. Everything committed is still there; free some space" in full.stderr
    assert "Traceback" not in full.stderr
    acknowledged = {event["id"] for event in records(full.stdout) if event["event"] == "committed"}
    assert 0 < len(acknowledged) < 700
    with Store.open(store) as opened:
        assert acknowledged <= set(opened.documents())
    again = process(*arguments)
    assert again.returncode == 0, again.stderr
    assert records(again.stdout)[-1]["unchanged"] >= len(acknowledged)
    assert cli("fsck", store).stdout.startswith("clean: 700 documents")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "good.txt").write_text("The altar of Kjelde is made of driftwood.")
    return folder


def ingest_failing(folder: Path, store: Path, *options: str) -> str:
    """Ingests a good file and a bad one; returns what is said of the bad one."""
    result = cli("ingest", folder, "--store", store, "--embedder", "hash", "--json", *options)
    assert result.exit_code == 1, result.output
    events = records(result.stdout)
    assert [event["id"] for event in events if event["event"] == "committed"] == ["docs/good.txt"]
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert failed["reason"] in result.stderr
    assert result.stderr.startswith(f"failed: {failed['path']}")
    return f"{failed['kind']}: {failed['reason']}"


def test_an_empty_file(folder: Path, tmp_path: Path) -> None:
    (folder / "empty.md").write_text(" \n")
    assert ingest_failing(folder, tmp_path / "s").startswith("empty: ")


def test_a_binary_file(folder: Path, tmp_path: Path) -> None:
    (folder / "image.txt").write_bytes(bytes(range(256)) * 20)
    assert ingest_failing(folder, tmp_path / "s").startswith("binary: ")


def test_a_misnamed_file(folder: Path, tmp_path: Path) -> None:
    (folder / "paper.txt").write_bytes(b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n")
    said = ingest_failing(folder, tmp_path / "s")
    assert said.startswith("misnamed: ")
    assert "PDF" in said


def test_an_oversized_file(folder: Path, tmp_path: Path) -> None:
    (folder / "long.txt").write_text("word " * 5000)
    said = ingest_failing(folder, tmp_path / "s", "--max-file-mb", "0.01")
    assert said.startswith("too_large: ")


def test_a_decompression_bomb(folder: Path, tmp_path: Path) -> None:
    (folder / "bomb.jsonl.gz").write_bytes(gzip.compress((b" " * 999 + b"\n") * 30_000, 9))
    assert ingest_failing(folder, tmp_path / "s").startswith("bomb: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    assert "is not a regular file" in ingest_failing(folder, tmp_path / "s")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(folder: Path, tmp_path: Path) -> None:
    (folder / "secret.txt").write_text("hidden")
    (folder / "secret.txt").chmod(0)
    assert "Permission denied" in ingest_failing(folder, tmp_path / "s")


def test_a_file_that_cannot_be_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "secret.txt").write_text("hidden")
    whole = Path.open

    def denied(self: Path, *arguments: object, **options: object) -> IO[bytes]:
        if self.name == "secret.txt":
            raise PermissionError(13, "Permission denied", str(self))
        return whole(self, *arguments, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(Path, "open", denied)
    said = ingest_failing(folder, tmp_path / "s")
    assert said == "unreadable: cannot be read: Permission denied"


def test_an_unknown_settings_key(shared_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text("[budget]\nsearchs = 3\n")
    line = error("ask", QUESTION, "--store", shared_store, "--settings", path, code=2)
    assert "Unknown key 'searchs' in [budget]" in line
    assert line.endswith("did you mean 'searches'?")


def test_an_unknown_mode(shared_store: Path) -> None:
    line = error("ask", QUESTION, "--store", shared_store, "--mode", "guess", code=2)
    assert line == "error: Unknown mode 'guess': use one of graph, hybrid, lexical, dense."


def test_an_unknown_strategy(shared_store: Path) -> None:
    line = error("ask", QUESTION, "--store", shared_store, "--strategy", "guess", code=2)
    assert line.startswith("error: Unknown strategy 'guess': use one of auto, ircot, ")


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--budget-searches", "0", "The budget of searches is 0: give a whole number, at least 1"),
        ("--budget-seconds", "0", "The budget of seconds is 0.0: give a number above 0"),
        ("--budget-seconds", "nan", "The budget of seconds is nan"),
        ("--budget-calls", "-1", "The budget of calls is -1: give a whole number, at least 0"),
        ("--budget-tokens", "-5", "The budget of tokens is -5"),
    ],
)
def test_a_budget_that_allows_nothing(
    shared_store: Path, option: str, value: str, message: str
) -> None:
    assert message in error("ask", QUESTION, "--store", shared_store, option, value, code=2)


def test_a_budget_of_no_calls_asks_no_model(shared_store: Path) -> None:
    with FakeServer(says("{}")) as server:
        result = cli(
            "ask", QUESTION, "--store", shared_store, "--model", server.url, "--budget-calls", "0",
            "--json",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert server.chats == []
    receipt = Receipt.parse(result.stdout)
    assert (receipt.usage.calls, receipt.stop) == (0, "out_of_calls")


@pytest.mark.parametrize("question", ["", "  \n "])
def test_an_empty_question(shared_store: Path, question: str) -> None:
    line = error("ask", question, "--store", shared_store, code=2)
    assert line == "error: The question is empty."
    assert "The query is empty" in error("search", question, "--store", shared_store, code=2)


def test_a_question_of_100_000_characters(shared_store: Path) -> None:
    line = error("ask", "why " * 25_000, "--store", shared_store, code=2)
    assert "The question has 100,000 characters, at most 20,000 are read" in line
    assert cli("search", "altar " * 16_000, "--store", shared_store).stdout.startswith(" 1. Altar")


def test_a_server_that_is_down(shared_store: Path) -> None:
    line = error("ask", QUESTION, "--store", shared_store, "--model", "http://127.0.0.1:9/v1")
    assert "No model server answers at 'http://127.0.0.1:9'" in line
    assert "start it" in line


def test_an_address_that_is_none(shared_store: Path) -> None:
    line = error("ask", QUESTION, "--store", shared_store, "--model", "localhost:8000", code=2)
    assert line == ("error: 'localhost:8000' is no address of a server: write http://HOST:PORT/v1.")


def test_a_server_that_answers_html(shared_store: Path) -> None:
    with FakeServer(models=html()) as server:
        line = error("ask", QUESTION, "--store", shared_store, "--model", server.url)
    assert "is no OpenAI-compatible server" in line
    assert "Please log in" in line


def test_a_server_that_refuses_the_key(shared_store: Path) -> None:
    with FakeServer(api_key="right") as server:
        line = error("ask", QUESTION, "--store", shared_store, "--model", server.url)
    assert "refuses the API key" in line


def test_a_model_that_is_not_served(shared_store: Path) -> None:
    with FakeServer() as server:
        line = error(
            "ask", "x", "--store", shared_store, "--model", server.url, "--model-name", "gpt"
        )
    assert "serves no model 'gpt': it has ['fake']" in line


def asked(store: Path, server: FakeServer, *options: str) -> Receipt:
    result = cli("ask", QUESTION, "--store", store, "--model", server.url, "--json", *options)
    assert result.exit_code == 0, result.output
    return Receipt.parse(result.stdout)


def test_a_slow_server_costs_no_more_than_the_time_there_is(shared_store: Path) -> None:
    with FakeServer(says("{}"), hang) as server:
        receipt = asked(shared_store, server, "--budget-seconds", "3")
    assert receipt.stop == "out_of_time"
    assert receipt.budget.seconds == 3


def test_prose_instead_of_json_is_counted_and_stood_in_for(shared_store: Path) -> None:
    with FakeServer(says("Sure! The Nightjar is a lovely bird.")) as server:
        receipt = asked(shared_store, server)
        result = cli("ask", QUESTION, "--store", shared_store, "--model", server.url)
    assert receipt.fallbacks > 0
    assert {step.use.failure for step in receipt.steps if step.use} == {"parse"}
    assert any("Quillane" in item.quote for item in receipt.evidence)
    assert "The model's reply could not be used " in result.stdout


def test_usage_that_is_a_lie_is_flagged_and_the_reservation_kept(shared_store: Path) -> None:
    lie = {"prompt_tokens": -5, "completion_tokens": 10**9, "total_tokens": 3}
    with FakeServer(says("{}", usage=lie)) as server:
        receipt = asked(shared_store, server, "--budget-tokens", "5000")
    assert receipt.flags
    assert 0 < receipt.usage.tokens <= 5000


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *(str(one) for one in arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_ctrl_c_during_ingest_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(100))
    path = tmp_path / "records.jsonl"
    path.write_text(
        "\n".join(json.dumps({"id": str(n), "text": f"{n} {words}"}) for n in range(20_000))
    )
    store = tmp_path / "store"
    arguments = ("ingest", path, "--store", store, "--embedder", "hash", "--json")
    child = started(*arguments)
    # Not communicate(): what a line's reader has buffered is lost to it.
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        first = json.loads(child.stdout.readline())
        assert first["event"] == "committed"
        os.killpg(child.pid, signal.SIGINT)  # as a terminal does: its children get it too
        out, err = child.stdout.read(), child.stderr.read()
    assert child.returncode == 130, err
    *events, last = [first, *records(out)]
    assert last["event"] == "interrupted"
    lines = len([event for event in events if event["event"] == "committed"])
    assert last["committed"] - lines in (0, 1)  # the signal may fall between count and line
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    with Store.open(store) as opened:
        assert {event["id"] for event in events} <= set(opened.documents())
    assert cli("fsck", store).exit_code == 0


@pytest.fixture
def waiting(own_store: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A question whose server has been asked and does not answer; it is recorded."""
    record = own_store.parent / "run.jsonl"
    with FakeServer(says("{}"), hang) as server:
        child = started(
            "ask", QUESTION, "--store", own_store, "--model", server.url, "--record", record
        )
        while len(server.chats) < 2:
            assert child.poll() is None, child.communicate()
            time.sleep(0.02)
        yield child, own_store
        child.kill()
        child.communicate()


def test_one_ctrl_c_during_ask_gives_the_best_answer_so_far(
    waiting: tuple[subprocess.Popen[str], Path],
) -> None:
    child, store = waiting
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "it stopped because it was told to stop" in out
    assert "stopping with the best answer so far" in err
    assert unfinished_runs(store / "default" / "runs") == ()


def test_a_killed_run_is_listed_and_resumed(waiting: tuple[subprocess.Popen[str], Path]) -> None:
    child, store = waiting
    child.kill()
    child.wait()
    (run,) = unfinished_runs(store / "default" / "runs")
    (listed,) = records(cli("resume", "--store", store, "--json").stdout)
    assert listed == {"run": run.id, "question": QUESTION}
    with FakeServer(says("prose")) as server:
        result = cli("resume", run.id, "--store", store, "--model", server.url, "--json")
    assert result.exit_code == 0, result.output
    assert Receipt.parse(result.stdout).environment.run == run.id
    assert unfinished_runs(store / "default" / "runs") == ()
    assert "what follows is not recorded: ask again with --record" in result.stderr
    assert not (store.parent / "run.jsonl").exists()
    assert "unfinished" in error("replay", store.parent / "run.jsonl.part")


def test_two_ctrl_c_during_ask_leave_a_run_and_say_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun: list[str] = []

    async def stubborn(_view: Listener, cancel: asyncio.Event) -> Receipt:
        begun.append(begin(tmp_path / "anna" / "runs", RunRequest(question="why?")).id)
        signal.raise_signal(signal.SIGINT)
        await cancel.wait()
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(60)
        raise AssertionError("unreachable")

    with pytest.raises(typer.Exit) as stop:
        _interruptible(tmp_path, "anna", stubborn)
    assert stop.value.exit_code == 130
    first, second = capsys.readouterr().err.splitlines()
    assert first == "stopping with the best answer so far; press Ctrl-C again to leave it"
    assert second == (
        f"interrupted; go on with: hoptrail resume {begun[0]} --store {tmp_path} --tenant anna"
    )


def test_ctrl_c_anywhere_else_is_no_traceback(
    shared_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "stats", interrupted)
    result = cli("stats", shared_store)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")


def test_a_server_that_fails_throughout(shared_store: Path) -> None:
    with FakeServer(says("{}"), status(400)) as server:
        receipt = asked(shared_store, server)
    assert receipt.outcome.kind in ("quotes", "partial")
    assert receipt.fallbacks > 0
