"""ask, resume and replay, as they are typed; what a receipt looks like; the live view."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.chat_server import FakeServer, says
from support.cli import TEXTS, cli, error, records

from hoptrail.agents import Receipt
from hoptrail.agents.events import (
    AnswerDelta,
    ClaimVerified,
    EvidenceAdded,
    HitsFound,
    PlanMade,
    QueryMade,
    SlatesScored,
    StepStarted,
    TreeOpened,
)
from hoptrail.agents.runs.folder import begin
from hoptrail.agents.runs.request import RunRequest
from hoptrail.agents.types import (
    TREE_BUILT,
    Claim,
    Evidence,
    Need,
    Outcome,
    Plan,
    Query,
    SlateRecord,
    StepRecord,
)
from hoptrail.app.cli.live_view import LiveView
from hoptrail.app.cli.receipt_text import receipt_text
from hoptrail.app.receipts import cited_evidence

QUESTION = "At which town was the Nightjar launched?"

SLATE = SlateRecord(
    node=3, standing=0.5, reserve=False, leaves=True, shown=(4, 5, 9), anchors=1,
    scores=(0.5, None, 1.0), failed=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def receipt(shared_store: Path) -> Receipt:
    """Of a run without a model."""
    result = cli("ask", QUESTION, "--store", shared_store, "--json")
    assert result.exit_code == 0, result.output
    return Receipt.parse(result.stdout)


def another_quote(receipt: Receipt, number: int, **changes: str) -> Evidence:
    """A quote like those of the receipt."""
    places = {"start": number, "end": number + 4}
    names = {"id": f"e{number}", "document_id": f"d{number}", "title": f"T{number}"}
    return replace(receipt.evidence[0], **places, **{**names, "quote": "text", **changes})


def test_the_answer_is_made_of_checked_quotes(receipt: Receipt) -> None:
    assert receipt.outcome.kind == "quotes"
    assert receipt.extractive
    for item in receipt.evidence:
        assert TEXTS[item.document_id][item.start : item.end] == item.quote
    assert any("Quillane" in item.quote for item in cited_evidence(receipt))


def test_people_see_words_quotes_hops_cost_and_why(shared_store: Path) -> None:
    said = cli("ask", QUESTION, "--store", shared_store).stdout
    assert said.startswith(
        "These are the documents' own words; no model reasoned over them.\n\n[1] "
    )
    assert "[1] Nightjar (Nightjar, characters 0 to " in said
    assert "\nHop 1: the question itself" in said
    assert "\nCost: 0 model calls, 0 tokens, " in said
    assert "\nOutcome: quotes, unjudged; it stopped because " in said


def test_the_embedder_loads_while_the_libraries_of_a_run_are_imported(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from hoptrail.app.cli.commands import ask
        from hoptrail.app.cli.main import app
        from hoptrail.rag.errors import SettingsError

        def embedder_of(*_):
            print("langgraph.graph" in sys.modules)
            raise SettingsError("This test needs no embedder.")

        ask.embedder_of = embedder_of
        app(["ask", "Who?", "--store", sys.argv[1]])
    """
    run = subprocess.run(
        [sys.executable, "-P", "-c", code, tmp_path], capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "False"
    assert run.stderr.strip() == "error: This test needs no embedder."


def test_an_abstention_says_why_in_words_and_is_no_error(shared_store: Path) -> None:
    result = cli("ask", "Who is Xanthippe Zebulon?", "--store", shared_store)
    assert result.exit_code == 0
    assert result.stdout.startswith("No answer: ")
    assert "Outcome: no answer; it stopped because " in result.stdout


def test_the_receipt_and_the_recording_are_written_and_replayed(
    shared_store: Path, tmp_path: Path
) -> None:
    receipt, recording = tmp_path / "receipt.json", tmp_path / "run.jsonl"
    again = tmp_path / "again.json"
    cli("ask", QUESTION, "--store", shared_store, "--receipt", receipt, "--record", recording)
    first = Receipt.parse(receipt.read_text())
    result = cli("replay", recording, "--receipt", again)
    assert result.exit_code == 0
    assert result.stdout.endswith("Replayed: the same receipt as recorded.\n")
    assert Receipt.parse(again.read_text()).canonical() == first.canonical()
    (found,) = records(cli("replay", recording, "--json").stdout)
    assert (found["same"], found["difference"]) == (True, "")
    assert found["receipt"]["question"] == QUESTION


def test_a_replay_that_differs_says_so_and_fails(shared_store: Path, tmp_path: Path) -> None:
    recording = tmp_path / "run.jsonl"
    cli("ask", QUESTION, "--store", shared_store, "--record", recording)
    *lines, last = recording.read_text().splitlines()
    edited = last.replace(QUESTION, "another question", 1)
    assert edited != last
    recording.write_text("\n".join([*lines, edited]) + "\n")
    result = cli("replay", recording)
    assert result.exit_code == 1
    assert "differs from the recorded one" in result.stdout


def test_settings_from_a_file_and_flags_over_them(shared_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text(
        f'[store]\ndir = "{shared_store}"\n[ask]\nstrategy = "single"\nread = 1\n'
        "[budget]\nsearches = 3\n"
    )
    found = Receipt.parse(cli("ask", QUESTION, "--settings", path, "--json").stdout)
    assert (found.strategy, found.budget.searches, found.rounds) == ("single", 3, 1)
    flags = ("--strategy", "pool", "--budget-searches", "5", "--budget-calls", "0")
    found = Receipt.parse(cli("ask", QUESTION, "--settings", path, *flags, "--json").stdout)
    assert (found.strategy, found.budget.searches, found.budget.calls) == ("pool", 5, 0)


def test_a_filter_reaches_the_search(shared_store: Path) -> None:
    found = Receipt.parse(
        cli("ask", QUESTION, "--store", shared_store, "--where", "n=1", "--json").stdout
    )
    assert {item.document_id for item in found.candidates} == {"Quillane"}


def test_a_served_model_is_asked_with_the_key_of_a_file(shared_store: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sesame\n")
    with FakeServer(says("{}"), api_key="sesame") as server:
        result = cli(
            "ask", QUESTION, "--store", shared_store, "--model", server.url + "/v1",
            "--api-key-file", key, "--model-name", "fake", "--json",
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = Receipt.parse(result.stdout)
    assert found.model == "fake"
    assert found.usage.calls == len(server.chats) > 0
    assert "sesame" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model-name", "m"), "of no use without its server: add --model URL"),
        (("--model", "http://127.0.0.1:9", "--api-key-file", "none"), "'none' cannot be read"),
        (("--receipt", "no/such/folder.json"), "name a file in a folder that exists"),
        (("--record", "."), "name a file in a folder that exists"),
        (("--where", "year"), "write KEY=VALUE"),
    ],
)
def test_options_that_cannot_be(shared_store: Path, options: tuple[str, ...], message: str) -> None:
    assert message in error("ask", QUESTION, "--store", shared_store, *options, code=2)


def test_an_empty_key_file_is_named(shared_store: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n")
    line = error(
        "ask", QUESTION, "--store", shared_store, "--model", "http://127.0.0.1:9", "--api-key-file",
        tmp_path / "key", code=2,
    )  # fmt: skip
    assert line.endswith("key' is empty.")


def test_resume_lists_and_names_what_there_is_not(shared_store: Path) -> None:
    listed = cli("resume", "--store", shared_store)
    assert (listed.exit_code, listed.stdout) == (0, "")
    assert listed.stderr == "no unfinished runs\n"
    assert "no run 'abc' to resume" in error("resume", "abc", "--store", shared_store, code=2)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_resumed_run_says_that_it_is_not_recorded(shared_store: Path, recorded: bool) -> None:
    left = begin(
        shared_store / "default" / "runs", RunRequest(question=QUESTION, recorded=recorded)
    )
    resumed = cli("resume", left.id, "--store", shared_store, "--json")
    assert Receipt.parse(resumed.stdout).outcome.kind == "quotes"
    assert ("cannot be replayed; what follows is not recorded" in resumed.stderr) is recorded


def test_claims_bear_the_numbers_of_their_quotes(receipt: Receipt) -> None:
    reasoned = replace(
        receipt,
        answer="Quillane",
        extractive=False,
        outcome=Outcome(kind="partial"),
        claims=(
            Claim(text="It was launched there.", evidence=("e2", "e1"), verdict="holds"),
            Claim(text="Quillane", evidence=("e1",), verdict="holds"),
        ),
        dropped=(Claim(text="It sank.", evidence=("e1",), verdict="dropped", reason="no quote"),),
        evidence=(
            another_quote(receipt, 1),
            another_quote(receipt, 2, title=""),
            another_quote(receipt, 3),
        ),
        source_changed=("e9",),
        fallbacks=2,
        steps=(
            StepRecord(node="retrieve", action="question", detail="q"),
            StepRecord(node="retrieve", action="subject", detail="Nightjar"),
            StepRecord(node="refine", action="read"),
            StepRecord(node="retrieve", action="bridge", detail="Quillane"),
            StepRecord(node="navigate", action="score", slates=(SLATE,)),
        ),
    )
    assert [item.id for item in cited_evidence(reasoned)] == ["e2", "e1"]
    said = receipt_text(reasoned)
    assert said.startswith("Quillane\n  It was launched there. [1][2]\n  [2]\n\n")
    assert "[1] d2 (d2, characters 2 to 6)\n    text\n[2] T1 (d1, characters 1 to 5)" in said
    assert "Left out: It sank. (no quote)\nLeft out: 1 quote whose document changed" in said
    assert "Hop 1: the question itself, via Nightjar\nHop 2: via Quillane\n" in said
    wordy = receipt_text(reasoned, verbose=True)
    assert "Hop 1: the question itself · Nightjar\nHop 2: Quillane\n" in wordy
    assert "Tree: 1 node opened in 1 iteration, 2 leaves looked at\n" in said
    built = replace(
        reasoned, steps=(*reasoned.steps, StepRecord(node="navigate", action=TREE_BUILT))
    )
    assert "there was none, so it was built first, without a model\n" in receipt_text(built)
    assert "could not be used 2 times; the local player stood in." in said
    assert "Outcome: partly answered; " in said


def test_a_hop_is_one_short_line_unless_the_queries_are_wanted(receipt: Receipt) -> None:
    searches = (
        ("question", "Where was the Nightjar launched?"),
        ("gap", "Ada Quill launched nightjar"),
        ("gap", "Osk launched nightjar"),
        ("gap", "who built the ship that Ada Quill sailed in, and in which of the yards of Osk"),
    )
    steps = tuple(StepRecord(node="retrieve", action=a, detail=d) for a, d in searches)
    asked = replace(receipt, question=searches[0][1], steps=steps)
    short = " ".join(receipt_text(asked).split())
    assert "Hop 1: the question itself, via Ada Quill, Osk, “who built the ship that " in short
    assert "Ada Quill launched nightjar" not in short
    assert "Ada Quill launched nightjar · Osk launched nightjar" in receipt_text(
        asked, verbose=True
    )


def test_the_view_draws_what_happens(receipt: Receipt) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=60, height=20)
    query = Query(text="Nightjar", purpose="subject")
    plan = Plan(needs=(Need(id="n1", text="who carved it", subject=""),), asks="person")
    with LiveView(console) as view:
        view(StepStarted(node="plan", round=0))
        view(PlanMade(plan=plan))
        view(StepStarted(node="retrieve", round=1))
        view(QueryMade(query=query))
        view(HitsFound(query=query, count=2, titles=("Nightjar", "Altar")))
        view(TreeOpened(nodes=7, leaves=1234, built=True))
        view(SlatesScored(iteration=2, slates=(SLATE,), best="Ships"))
        view(EvidenceAdded(evidence=another_quote(receipt, 1, quote="long \x1b[2J" + "word " * 50)))
        view(ClaimVerified(claim=Claim(text="so", evidence=("e1",), verdict="holds")))
        view(ClaimVerified(claim=Claim(text="no", evidence=("e1",), verdict="dropped")))
        view(AnswerDelta(text="wrong words"))
        view(AnswerDelta(text="Lars ", restart=True))
        view(AnswerDelta(text="Omdrey"))
        drawn = io.StringIO()
        Console(file=drawn, width=60, force_terminal=False).print(view.render())
    lines = drawn.getvalue().splitlines()
    assert lines[:3] == [
        "needs  who carved it",
        "query  Nightjar",
        "       2 passages: Nightjar, Altar",
    ]
    assert lines[3:5] == [
        "tree   1,234 leaves in 7 nodes, built just now without a mo…",
        "       2. 2 children scored, best: Ships",
    ]
    assert lines[5].startswith("quote  T1: long")
    assert "\x1b" not in lines[5]
    assert lines[6:9] == ["claim  ✓ so", "claim  ✗ no", "Lars Omdrey"]
    assert lines[9].endswith("round 1: searching")
    assert "Omdrey" in screen.getvalue() or "starting" in screen.getvalue()


def test_the_view_draws_nothing_where_there_is_no_terminal() -> None:
    screen = io.StringIO()
    with LiveView(Console(file=screen, force_terminal=False)) as view:
        view(StepStarted(node="plan", round=0))
        view(QueryMade(query=Query(text="x", purpose="question")))
    assert screen.getvalue() == ""


def test_json_is_one_receipt_that_fits_its_schema(shared_store: Path) -> None:
    from jsonschema import validate

    from hoptrail.agents.runs.receipt import schema

    (found,) = records(cli("ask", QUESTION, "--store", shared_store, "--json").stdout)
    validate(found, schema())
    assert json.loads(Receipt.parse(json.dumps(found)).canonical())["question"] == QUESTION
