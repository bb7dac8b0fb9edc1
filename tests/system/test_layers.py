"""The shape of the code: who imports whom, how large a folder is, what an `__init__` may hold."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from support.imports import (
    LAYERS,
    circle,
    file_graph,
    folder_graph,
    layers_imported,
    module_of,
    sources,
)
from support.paths import ROOT

HEAVY = ("chromadb", "llama_index", "langgraph", "onnxruntime", "onnx", "nltk", "torch")
MOST_ENTRIES = 13
"""Modules and folders in one folder; what is listed below holds many of one kind."""
MANY_OF_ONE_KIND = frozenset({"rag/ingest/parsers"})

SAME_NAME = {
    "base": "the protocol or record that the files beside it share",
    "common": "what the files beside it share",
    "types": "the records of its folder",
    "html": "the format: read by a parser, written as pages",
    "text": "what people read: taken apart, and shown",
    "__main__": "a command line",
    "answers": "what was answered: its records, and its metrics",
    "audit": "the checks of its index",
    "triples": "triples as read from a file, and as stored",
    "store": "the store, its package, its commands, its benchmark",
    "graph": "the LangGraph graph, the commands and the benchmark of the passage graph",
    "agents": "the layer, and the benchmark of its runtime",
    "tree": "the corpus tree, its commands, its benchmark",
    "ingest": "documents in: the package, and its command",
    "ask": "asking: the function, its prompts, its command",
    "retrieval": "a query to passages: the package, and the node that calls it",
    "plan": "the strategy, and the benchmark of its planner",
    "strategies": "the strategies, and their floors",
    "models": "language models: those of a run, and the benchmark of real ones",
}
"""File and folder names that stand in more than one place, each with its one meaning."""


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_those_below_it(layer: str) -> None:
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    wrong = {
        str(path.relative_to(ROOT)): sorted(layers_imported(path) - allowed)
        for path in (ROOT / layer).rglob("*.py")
        if layers_imported(path) - allowed
    }
    assert wrong == {}


def test_no_circle_of_files() -> None:
    assert circle(file_graph()) == []


def test_no_circle_of_sibling_folders_at_any_depth() -> None:
    graph = file_graph()
    parents = {name.rpartition(".")[0] for name in graph}
    parents |= {parent.rpartition(".")[0] for parent in parents} | {""}
    assert {p: circle(folder_graph(graph, p)) for p in parents if folder_graph(graph, p)} == {
        p: [] for p in parents if folder_graph(graph, p)
    }


def test_a_circle_is_found() -> None:
    """The tests above would pass on a graph that is read wrongly: so it is shown that they see."""
    graph = file_graph()
    assert "rag.types" in graph["rag.store.store"]
    assert "agents.nodes.answering" in graph["agents.strategies.single"]
    assert "agents" in folder_graph(graph, "")["app"]
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_a_folder_has_few_entries() -> None:
    large = {}
    for layer in LAYERS:
        for folder in [ROOT / layer, *(p for p in (ROOT / layer).rglob("*") if p.is_dir())]:
            inside = [
                path.name
                for path in folder.iterdir()
                if (path.suffix in (".py", ".md") and path.name != "__init__.py")
                or (path.is_dir() and path.name != "__pycache__")
            ]
            name = str(folder.relative_to(ROOT))
            if len(inside) > MOST_ENTRIES and name not in MANY_OF_ONE_KIND:
                large[name] = sorted(inside)
    assert large == {}


@pytest.mark.parametrize(
    "path",
    [path for path in sources() if path.name == "__init__.py"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_an_init_holds_imports_and_all_only(path: Path) -> None:
    first, *rest = ast.parse(path.read_text("utf-8")).body
    assert isinstance(first, ast.Expr), "it says in a docstring what the folder is"
    for node in rest:
        if isinstance(node, ast.If):
            assert ast.unparse(node.test) == "TYPE_CHECKING"
            inside = node.body
        else:
            inside = [node]
        for one in inside:
            # A lazy front door (PEP 562) says in one call where its names are defined.
            lazy = isinstance(one, ast.Assign) and "lazy_loader.attach" in ast.unparse(one.value)
            exported = isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "__all__"
            assert lazy or exported or isinstance(one, ast.Import | ast.ImportFrom), one.lineno


def test_a_name_of_a_file_has_one_meaning() -> None:
    places = defaultdict(set)
    for path in sources():
        name = path.parent.name if path.name == "__init__.py" else path.stem
        places[name].add(module_of(path))
    several = {name: found for name, found in places.items() if len(found) > 1}
    assert {name: found for name, found in several.items() if name not in SAME_NAME} == {}
    assert set(SAME_NAME) - set(several) == set(), "names that stand in one place only"


@pytest.mark.parametrize("layer", LAYERS)
def test_no_pickle_eval_or_yaml_load(layer: str) -> None:
    found = []
    for path in (ROOT / layer).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
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
