"""The import graph of hoptrail's own files, read from their source."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

from support.paths import ROOT

LAYERS = ("prompts", "rag", "agents", "evals", "app")
"""From the lowest: a layer imports only those before it."""

Graph = Mapping[str, Set[str]]


def sources() -> Iterator[Path]:
    """Every Python file of the layers."""
    for layer in LAYERS:
        yield from sorted((ROOT / layer).rglob("*.py"))


def module_of(path: Path) -> str:
    """`rag/text/tokens.py` -> `rag.text.tokens`; `rag/text/__init__.py` -> `rag.text`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def file_graph() -> Graph:
    """Which file imports which, anywhere in it; packages' `__init__` files are left out.

    An `__init__` is a front door that re-exports what lies behind it; whoever imports from one
    depends on the files that define the names.
    """
    files = {module_of(path): path for path in sources()}
    doors = {name for name, path in files.items() if path.stem == "__init__"}
    exports = {name: _imports(files[name], files) for name in doors}

    def through_doors(name: str) -> Iterator[str]:
        if name in doors:
            for behind in exports[name]:
                yield from through_doors(behind)
        else:
            yield name

    return {
        name: {one for found in _imports(path, files) for one in through_doors(found)} - {name}
        for name, path in files.items()
        if name not in doors
    }


def folder_graph(graph: Graph, parent: str) -> dict[str, set[str]]:
    """Which of a folder's direct subfolders imports which of its siblings."""
    prefix = f"{parent}." if parent else ""
    folders: dict[str, set[str]] = {}
    for name, targets in graph.items():
        source = _subfolder(name, prefix)
        if source is None:
            continue
        found = {_subfolder(target, prefix) for target in targets}
        folders.setdefault(source, set()).update(one for one in found if one not in (None, source))  # type: ignore[misc]
    return folders


def circle(graph: Graph) -> list[str]:
    """A circle of the graph, its first node repeated at the end; empty where there is none."""
    done: set[str] = set()
    for start in sorted(graph):
        path: list[str] = []
        if found := _circle_from(start, graph, path, done):
            return found
    return []


def _circle_from(node: str, graph: Graph, path: list[str], done: set[str]) -> list[str]:
    if node in path:
        return [*path[path.index(node) :], node]
    if node in done:
        return []
    path.append(node)
    for target in sorted(graph.get(node, ())):
        if found := _circle_from(target, graph, path, done):
            return found
    path.pop()
    done.add(node)
    return []


def _imports(path: Path, files: Mapping[str, Path]) -> set[str]:
    """The hoptrail modules that a file imports; of a name in a module: the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = []
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.append(inner if inner.removeprefix("hoptrail.") in files else node.module)
        else:
            continue
        found |= {name.removeprefix("hoptrail.") for name in names if name.startswith("hoptrail.")}
    return {name for name in found if name in files}


def _subfolder(name: str, prefix: str) -> str | None:
    """The direct subfolder of `prefix` in which a module lies; None: outside, or right in it."""
    if not name.startswith(prefix):
        return None
    rest = name[len(prefix) :].split(".")
    return rest[0] if len(rest) > 1 else None


def layers_imported(path: Path) -> set[str]:
    """The layers that a file imports, anywhere in it."""
    files = {module_of(source): source for source in sources()}
    return {name.split(".")[0] for name in _imports(path, files)}
