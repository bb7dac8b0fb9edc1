"""Every program in examples/ runs, offline, and says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
SAYS = {
    "ask_world.py": "64 documents, ",
    "many_questions.py": "  searching: Who led the Third Ulvra Expedition?",
    "replay.py": "the same receipt",
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_runs(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-P", str(EXAMPLES / name), "--embedder", "hash"],
        check=False, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert SAYS[name] in run.stdout
    assert run.stderr == ""


def test_the_demos_question_is_one_line() -> None:
    question = (EXAMPLES / "question.txt").read_text()
    assert question.endswith("?\n")
    assert question.count("\n") == 1
