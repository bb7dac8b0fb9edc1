"""hoptrail tree show and drop, and how ingest and delete grow a tree, as they are typed."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from support.cli import RECORDS, cli, error, make_store, records
from support.tree import plant

from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.view import load_tree

# show


def test_show_outlines_the_tree(tree_store: Path) -> None:
    lines = cli("tree", "show", "--store", tree_store).stdout.splitlines()
    assert lines[0] == (
        "12 passages below 7 nodes: bottom-up, at most 3 children each, built without a model"
    )
    assert len(lines) == 1 + 2 + 4
    assert re.fullmatch(r"\d: \(9\) topic \d", lines[1])
    assert re.fullmatch(r"├── \d: \(3\) topic \d", lines[2])


def test_show_of_a_node_says_where_it_stands_and_lists_its_leaves(tree_store: Path) -> None:
    with Store.open(tree_store) as opened:
        tree = load_tree(opened)
    last = next(node for node in tree.nodes.values() if node.rows)
    lines = cli("tree", "show", last.number, "--store", tree_store).stdout.splitlines()
    assert lines[0] == f"in {last.parent}: topic {last.parent}"
    assert lines[1:3] == [f"{last.number}: topic {last.number}", "3 leaves"]
    assert lines[3] == f"d0  (d0 0:{len(RECORDS['d0'])})"
    assert len(lines) == 6


def test_depth_says_how_many_layers(tree_store: Path) -> None:
    def count(depth: int) -> int:
        shown = cli("tree", "show", "--store", tree_store, "--depth", depth).stdout
        return len(shown.splitlines()) - 1

    assert [count(1), count(2), count(3), count(9)] == [2, 6, 18, 18]


def test_show_as_json_has_nodes_and_leaves(tree_store: Path) -> None:
    (found,) = records(cli("tree", "show", "--store", tree_store, "--json").stdout)
    assert (found["method"], found["leaves"], found["inner_nodes"]) == ("bottom-up", 12, 7)
    assert len(found["nodes"]) == 7
    assert found["nodes"][0]["parent"] is None
    leaves = [leaf for node in found["nodes"] for leaf in node["leaves"]]
    assert {leaf["document_id"] for leaf in leaves} == set(RECORDS)
    (found,) = records(cli("tree", "show", "--store", tree_store, "--json", "--depth", 1).stdout)
    assert [node["depth"] for node in found["nodes"]] == [0, 1, 1]


def test_a_wrong_node_or_depth_is_refused(tree_store: Path) -> None:
    line = error("tree", "show", 99, "--store", tree_store, code=2)
    assert line.startswith("error: The tree has no node 99: hoptrail tree show")
    line = error("tree", "show", "--store", tree_store, "--depth", 0, code=2)
    assert line == "error: A tree is shown to a depth of at least 1, not 0."


def test_show_shows_control_characters_and_does_not_obey_them(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", {"a\x1b[2Jb": "x \x9b1m\u202e"})
    plant(root, fanout=3, text="topic {} [bold]\x1b[31m :smile:\u202e\n2: fake" + "w" * 200)
    shown = cli("tree", "show", "--store", root).stdout
    assert not set(shown) & set("\x1b\x9b\u202e")
    assert "[bold]" in shown
    assert ":smile:" in shown
    assert len(shown.splitlines()) == 3
    assert max(map(len, shown.splitlines())) <= 96


@pytest.mark.parametrize("command", ["show", "page"])
def test_a_store_without_a_tree_says_how_to_make_one(tmp_path: Path, command: str) -> None:
    root = make_store(tmp_path / "s", RECORDS)
    more = [tmp_path / "page.html"] if command == "page" else []
    line = error("tree", command, *more, "--store", root)
    assert f"has no tree. Make one: hoptrail tree build --store {root}" in line
    assert not (tmp_path / "page.html").exists()
    assert "No store of tenant" in error("tree", command, *more, "--store", tmp_path / "none")
    assert "No store is named" in error("tree", command, *more, code=2)


# drop


def test_drop_removes_the_tree_and_no_document(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", RECORDS)
    plant(root, fanout=3, text="topic {}")
    assert cli("tree", "drop", "--store", root).stdout == f"dropped the tree of {root}\n"
    assert "has no tree" in error("tree", "show", "--store", root)
    again = cli("tree", "drop", "--store", root)
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "there is no tree\n")
    assert records(cli("tree", "drop", "--store", root, "--json").stdout) == [{"event": "none"}]
    assert cli("stats", root).exit_code == 0
    assert "No store of tenant" in error("tree", "drop", "--store", tmp_path / "none")


def test_drop_removes_a_tree_that_cannot_be_read(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", RECORDS)
    plant(root, fanout=3, text="topic {}")
    (root / "default" / "tree.db").write_bytes(b"no database" * 1000)
    assert "hoptrail tree drop" in error("tree", "show", "--store", root)
    assert cli("tree", "drop", "--store", root).exit_code == 0
    assert "has no tree" in error("tree", "show", "--store", root)


# a tree that does not fit its store


def put(root: Path, key: str, value: object) -> None:
    """Changes what the tree's file says of itself."""
    connection = sqlite3.connect(root / "default" / "tree.db", isolation_level=None)
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
    connection.close()


@pytest.mark.parametrize("key", ["embedder", "format", "reflects"])
def test_a_tree_of_something_else_is_refused_and_can_be_built_anew(
    tmp_path: Path, key: str
) -> None:
    root = make_store(tmp_path / "s", RECORDS)
    plant(root, fanout=3, text="topic {}")
    put(root, key, "other" if key == "embedder" else 1000)
    out = tmp_path / "page.html"
    line = error("tree", "show", "--store", root)
    assert line == error("tree", "page", out, "--store", root)
    assert "hoptrail tree build" in line
    assert not out.exists()
    grown = cli("delete", "d1", "--store", root)
    assert (grown.exit_code, grown.stdout) == (0, "deleted d1\n")
    assert grown.stderr.startswith("warning: the tree did not grow: The tree ")
    assert cli("tree", "drop", "--store", root).exit_code == 0
    assert cli("tree", "build", "--store", root).exit_code == 0
    assert cli("tree", "show", "--store", root).stdout.startswith("11 passages below ")


def test_a_tree_older_than_its_store_is_shown_as_it_would_be_now(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", RECORDS)
    plant(root, fanout=3, text="topic {}")
    with Store.open(root) as opened:
        opened.commit((), ["d0", "d5"])
    (found,) = records(cli("tree", "show", "--store", root, "--json").stdout)
    held = {leaf["document_id"] for node in found["nodes"] for leaf in node["leaves"]}
    assert held == set(RECORDS) - {"d0", "d5"}
    out = tmp_path / "page.html"
    assert "over 10 passages" in cli("tree", "page", out, "--store", root).stdout
    assert "Port 5" not in out.read_text(encoding="utf-8")


# growing


def test_ingest_and_delete_grow_the_tree_and_say_so(tmp_path: Path) -> None:
    corpus, root = tmp_path / "c.jsonl", tmp_path / "s"
    lines = [json.dumps({"id": one, "title": one, "text": text}) for one, text in RECORDS.items()]
    corpus.write_text("\n".join(lines[:9]), encoding="utf-8")
    ingest = ("ingest", corpus, "--store", root, "--embedder", "hash")
    assert cli(*ingest).exit_code == 0
    plant(root, fanout=3, text="topic {}")
    assert "tree" not in cli(*ingest).stderr
    corpus.write_text("\n".join(lines), encoding="utf-8")
    grown = cli(*ingest)
    assert re.fullmatch(r"the tree has grown with it: 12 leaves below \d+ nodes\n", grown.stderr), (
        grown.stderr
    )
    (found,) = records(cli("tree", "show", "--store", root, "--json", "--depth", 8).stdout)
    held = {leaf["document_id"] for node in found["nodes"] for leaf in node["leaves"]}
    assert held == set(RECORDS)
    deleted = records(cli("delete", "d3", "--store", root, "--json").stdout)
    assert [one["event"] for one in deleted] == ["deleted", "tree"]
    assert deleted[1]["leaves"] == 11


def test_a_tree_that_cannot_grow_is_told_and_the_documents_are_in(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", RECORDS)
    plant(root, fanout=3, text="topic {}")
    (root / "default" / "tree.db").write_bytes(b"no database" * 1000)
    result = cli("delete", "d3", "--store", root)
    assert (result.exit_code, result.stdout) == (0, "deleted d3\n")
    assert result.stderr.startswith("warning: the tree did not grow: The tree ")
