"""Every program in examples/ runs, offline, and says what it should."""

from __future__ import annotations

import runpy

import pytest
from support.paths import ROOT

EXAMPLES = ROOT / "examples"
SAYS = {
    "ask.py": "64 documents, ",
    "events.py": "searching: To which scientific establishment",
    "many_questions.py": "Who led the Third Ulvra Expedition?",
    "own_strategy.py": "two-rounds: 2 rounds, ",
    "replay.py": "the same receipt",
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", [name, "--embedder", "hash"])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    said = capsys.readouterr()
    assert SAYS[name] in said.out
    assert said.err == ""


def test_the_demos_question_is_one_line() -> None:
    question = (EXAMPLES / "question.txt").read_text()
    assert question.endswith("?\n")
    assert question.count("\n") == 1
