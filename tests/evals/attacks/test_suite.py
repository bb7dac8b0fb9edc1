"""The suite: its copy of a store, its report, its exit codes, its bounds on commands."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.chat_server import FakeServer, says
from support.cli import TEXTS, cli

from hoptrail.evals.attacks import (
    AttackResult,
    Kind,
    Measure,
    Sandbox,
    Verdict,
    all_attacks,
    run_attacks,
)
from hoptrail.evals.attacks.__main__ import main
from hoptrail.evals.attacks.process import Bounds, run_command
from hoptrail.evals.attacks.report import AttackReport, report_lines
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import ModelError, SettingsError, StoreMismatch, StoreMissing
from hoptrail.rag.types import Document


@dataclass(frozen=True)
class Act:
    """An attack that does what a test gives it."""

    run: Callable[[Sandbox], Verdict]
    name: str = "act"
    kind: Kind = "injection"


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def passing(_sandbox: Sandbox) -> Verdict:
    return Verdict(passed=True, detail="fine", measures=(Measure(name="rank", value=2.0),))


def test_the_users_store_is_as_it_was_and_the_copy_is_removed(attacked: Path) -> None:
    before = digests(attacked)
    with Sandbox.over(attacked) as sandbox:
        folder = sandbox.folder
        assert set(sandbox.sampled) == set(TEXTS)
        assert sandbox.kb.store.spec.embedder == "hash-64"
        sandbox.kb.delete(sandbox.sampled)
        with sandbox.planted([Document(id="a", title="", text="A lamp.", metadata={"n": 1})]):
            assert sandbox.kb.search("lamp").hits
    assert not folder.exists()
    assert digests(attacked) == before


def test_a_copy_has_the_passages_and_the_ranking_of_the_store(attacked: Path) -> None:
    from hoptrail.agents.knowledge_base import KnowledgeBase

    with Sandbox.over(attacked) as sandbox, KnowledgeBase.open(attacked) as original:
        for question in ("Who carved the altar?", "harbour town"):
            found, wanted = sandbox.kb.search(question), original.search(question)
            assert [one.passage for one in found.hits] == [one.passage for one in wanted.hits]


@pytest.mark.parametrize("most", [0, 1, 2])
def test_at_most_so_many_documents_are_copied(attacked: Path, most: int) -> None:
    with Sandbox.over(attacked, documents=most) as sandbox:
        assert len(sandbox.sampled) == most


def test_a_store_that_is_none_or_of_another_embedder_is_refused(
    attacked: Path, tmp_path: Path
) -> None:
    with pytest.raises(StoreMissing), Sandbox.over(tmp_path / "none"):
        pass
    with pytest.raises(StoreMismatch), Sandbox.over(attacked, embedder=HashEmbedder(8)):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_removes_the_copy(attacked: Path, number: signal.Signals) -> None:
    def interrupted(_sandbox: Sandbox) -> Verdict:
        signal.raise_signal(number)
        raise AssertionError("the signal interrupts")

    folders = []

    def attack_once() -> None:
        with Sandbox.over(attacked) as sandbox:
            folders.append(sandbox.folder)
            run_attacks([Act(run=interrupted)], sandbox)

    with pytest.raises(KeyboardInterrupt):
        attack_once()
    (folder,) = folders
    assert not folder.exists()


def test_an_attack_that_raises_has_succeeded_but_a_lost_model_ends_the_suite(
    sandbox: Sandbox,
) -> None:
    def fails(_sandbox: Sandbox) -> Verdict:
        raise RecursionError("too deep\x1b[2J")

    def lost(_sandbox: Sandbox) -> Verdict:
        raise ModelError("The model server was lost.")

    seen = []
    report = run_attacks([Act(run=fails), Act(run=passing)], sandbox, seen.append)
    assert [one.verdict.passed for one in report.results] == [False, True]
    assert report.results[0].verdict.detail == "RecursionError: 'too deep\\x1b[2J'"
    assert [event.done for event in seen] == [0, 1, 2]
    with pytest.raises(ModelError):
        run_attacks([Act(run=lost)], sandbox)


def test_an_unknown_kind_is_refused(sandbox: Sandbox) -> None:
    assert {one.kind for one in all_attacks(sandbox, ["bomb"])} == {"bomb"}
    assert sum(one.name.startswith("own-document") for one in all_attacks(sandbox)) == 3
    with pytest.raises(SettingsError, match="no kind of attack 'bombs'"):
        all_attacks(sandbox, ["bombs"])


def test_the_report_has_rates_means_and_what_a_failure_means() -> None:
    good = AttackResult(
        name="a", kind="poisoning", seconds=1.0,
        verdict=Verdict(passed=True, detail="x", measures=(Measure(name="rank", value=1.0),)),
    )  # fmt: skip
    bad = AttackResult(
        name="b", kind="poisoning", seconds=1.0,
        verdict=Verdict(passed=False, detail="y", measures=(Measure(name="rank", value=4.0),)),
    )  # fmt: skip
    report = AttackReport(results=(good, bad), documents=7, served=False, seconds=2.0)
    assert not report.passed
    record = json.loads(json.dumps(report.record()))
    (kind,) = record["kinds"]
    assert (kind["kind"], kind["attacks"], kind["passed"], kind["rate"]) == ("poisoning", 2, 1, 0.5)
    assert kind["measures"] == {"rank": 2.5}
    assert record["attacks"][1]["verdict"] == {
        "passed": False, "detail": "y", "measures": [{"name": "rank", "value": 4.0}],
    }  # fmt: skip
    text = "\n".join(report_lines(report))
    assert "poisoning        1/2 withstood (50%)" in text
    assert "a failure means: planted passages replaced the true answer" in text


def test_the_module_exits_by_what_was_found(
    attacked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(attacked), "--kind", "injection", "--json"]) == 0
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert record["passed"]
    assert record["documents"] == len(TEXTS)
    assert "[1/10] pass  injection/ignore-previous" in err
    assert main([str(attacked), "--tenant", "nobody"]) == 2
    assert "No store of tenant 'nobody'" in capsys.readouterr().err


def test_the_command_exits_by_what_was_found(
    attacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = cli("attack", "--store", attacked, "--kind", "poisoning", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["kinds"][0]["attacks"] == 5

    def lost(*_: object) -> Verdict:
        return Verdict(passed=False, detail="lost")

    monkeypatch.setattr("hoptrail.evals.attacks.kinds.injection.Injection.run", lost)
    result = cli("attack", "--kind", "injection")
    assert result.exit_code == 1
    assert "FAIL  injection/ignore-previous" in result.stdout
    assert "succeeded: injection/ignore-previous" in result.stderr
    assert cli("attack", "--kind", "none").exit_code == 2

    def interrupted(*_: object) -> Verdict:
        raise KeyboardInterrupt

    monkeypatch.setattr("hoptrail.evals.attacks.kinds.injection.Injection.run", interrupted)
    result = cli("attack", "--kind", "injection")
    assert result.exit_code == 130
    assert "the store is as it was" in result.stderr


def test_a_served_model_is_asked_and_its_loss_ends_the_suite(attacked: Path) -> None:
    with FakeServer(says("{}")) as server:
        served = ("--store", attacked, "--kind", "injection", "--model", server.url + "/v1")
        result = cli("attack", *served, "--budget-calls", 4, "--json")
        assert len(server.chats) > 0
    assert result.exit_code == 0
    assert json.loads(result.stdout)["served"] is True
    lost = cli("attack", *served, "--budget-seconds", 20)
    assert lost.exit_code == 1
    assert "error: " in lost.stderr
    assert lost.stdout == ""


def test_a_command_is_bound_and_its_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOPTRAIL_SETTINGS", "/nowhere/at/all.toml")
    bounds = Bounds()
    ended = run_command("--version", bounds=bounds)
    assert ended.problem(bounds) == ""
    assert ended.text.startswith("hoptrail ")
    assert ended.memory_bytes > 1_000_000
    small = Bounds(memory_bytes=1_000_000)
    assert "MB of memory" in ended.problem(small)
    refused = run_command("search", "x")
    assert "ended with exit code 2: 'error: No store is named" in refused.problem(bounds)
    assert refused.problem(bounds, codes=(0, 2)) == ""


def test_a_command_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    from hoptrail.evals.attacks import process

    monkeypatch.setattr(process, "_COMMAND", ("sleep",))
    bounds = Bounds(seconds=0.05)
    assert "unfinished" in run_command("600", bounds=bounds).problem(bounds)
    monkeypatch.setattr(process, "_COMMAND", ("sh", "-c", "while :; do :; done"))
    bounds = Bounds(seconds=1.0)
    ended = run_command(bounds=bounds)
    assert "unfinished" in ended.problem(bounds)
