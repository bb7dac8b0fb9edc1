"""Imports go one way: prompts <- rag <- agents <- evals <- app."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

ORDER = ("prompts", "rag", "agents", "evals", "app")
HEAVY = ("chromadb", "llama_index", "langgraph", "onnxruntime", "onnx", "nltk", "torch")


def imported(path: Path) -> set[str]:
    """The hoptrail parts that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    parts = (name.split(".") for name in names)
    return {p[1] for p in parts if p[0] == "hoptrail" and len(p) > 1 and p[1] in ORDER}


@pytest.mark.parametrize("part", ORDER)
def test_a_layer_imports_only_those_below_it(part: str) -> None:
    allowed = set(ORDER[: ORDER.index(part) + 1])
    wrong = {
        str(path.relative_to(ROOT)): sorted(imported(path) - allowed)
        for path in (ROOT / part).rglob("*.py")
        if imported(path) - allowed
    }
    assert wrong == {}


@pytest.mark.parametrize("part", ORDER)
def test_no_pickle_eval_or_yaml_load(part: str) -> None:
    found = []
    for path in (ROOT / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import) and any(a.name == "pickle" for a in node.names):
                found.append(f"{path.name}: pickle")
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Name) and called.id in ("eval", "exec"):
                found.append(f"{path.name}:{called.lineno}: {called.id}")
    assert found == []


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    code = f"import sys, hoptrail.app.cli.main\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
