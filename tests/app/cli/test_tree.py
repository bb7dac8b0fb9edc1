"""hoptrail tree show, page and drop, and how ingest and delete grow a tree, as they are typed."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cli import cli, error, make_store, records
from support.html import Reader
from support.tree import made

from hoptrail.agents.receipt import Receipt
from hoptrail.agents.types import SlateRecord, StepRecord
from hoptrail.app.html.tree_page import tree_page
from hoptrail.app.html.tree_selection import (
    TreeSearchTrace,
    TreeSelection,
    children,
    looked_at,
    road,
)
from hoptrail.app.html.tree_svg import picture
from hoptrail.rag.store.layout import Layout
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.leaves import StoreLeaves
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.storage import TreeFile
from hoptrail.rag.tree.types import ROOT, Tree
from hoptrail.rag.tree.view import load_tree

QUESTION = "What is record 7 about?"
TEXTS = {f"d{at}": f"Record {at} is about the harbour of Port {at}." for at in range(12)}
NASTY = "</title></style><script>alert(1)</script>\" onload='x' & <b>\x00\x1b[2J\u202e"


def plant(root: Path, text: str = "{}") -> Tree:
    """A tree of three children a node; `text` is made of each node's number."""
    with Store.open(root) as store:
        tree = made(StoreLeaves(store), fanout=3)
        spec = replace(tree.spec, embedder=store.spec.embedder)
        nodes = {
            number: replace(node, text=text.format(f"topic {number}") if number else "")
            for number, node in tree.nodes.items()
        }
        layout = Layout(root=store.root, tenant=store.tenant)
        return TreeFile(layout).save(replace(tree, nodes=nodes, spec=spec))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a tree that no test changes: 12 leaves, 4 last nodes, 2 above, the root."""
    root = make_store(tmp_path_factory.mktemp("tree") / "store", TEXTS)
    plant(root)
    return root


@pytest.fixture(scope="module")
def answer(store: Path) -> Receipt:
    """What was found without the tree."""
    result = cli("ask", QUESTION, "--store", store, "--strategy", "single", "--json")
    assert result.exit_code == 0, result.output
    return Receipt.parse(result.stdout)


def slate(tree: Tree, number: int, scores: Sequence[float | None], anchors: int = 0) -> SlateRecord:
    """An opened node; the anchors are the leaves or nodes with the smallest numbers."""
    below = children(tree.nodes[number])
    shown = [one.number for one in below] + list(range(1, anchors + 1))
    return SlateRecord(
        node=number, standing=0.5, reserve=False, leaves=below[0].leaf, shown=tuple(shown),
        anchors=anchors, scores=tuple(scores), failed=False,
    )  # fmt: skip


def searched(answer: Receipt, tree: Tree) -> Receipt:
    """The answer as if a search had led to it: the root, then the nodes above the first quote."""
    with_leaf = next(node for node in tree.nodes.values() if node.rows and node.number != ROOT)
    steps = (
        StepRecord(
            node="navigate", action="score",
            slates=(slate(tree, ROOT, [0.9, 0.25]),),
        ),
        StepRecord(
            node="navigate", action="score",
            slates=(slate(tree, with_leaf.number, [0.5, None, 1.0, 0.75], anchors=1),),
        ),
    )  # fmt: skip
    return replace(answer, steps=(*answer.steps, *steps))


@pytest.fixture
def receipt(store: Path, answer: Receipt, tmp_path: Path) -> Path:
    with Store.open(store) as opened:
        whole = searched(answer, load_tree(opened))
    (tmp_path / "receipt.json").write_text(whole.json(), encoding="utf-8")
    return tmp_path / "receipt.json"


# show


def test_show_outlines_the_tree(store: Path) -> None:
    lines = cli("tree", "show", "--store", store).stdout.splitlines()
    assert lines[0] == (
        "12 passages below 7 nodes: bottom-up, at most 3 children each, built without a model"
    )
    assert len(lines) == 1 + 2 + 4
    assert re.fullmatch(r"\d: \(9\) topic \d", lines[1])
    assert re.fullmatch(r"├── \d: \(3\) topic \d", lines[2])


def test_show_of_a_node_says_where_it_stands_and_lists_its_leaves(store: Path) -> None:
    with Store.open(store) as opened:
        tree = load_tree(opened)
    last = next(node for node in tree.nodes.values() if node.rows)
    lines = cli("tree", "show", last.number, "--store", store).stdout.splitlines()
    assert lines[0] == f"in {last.parent}: topic {last.parent}"
    assert lines[1:3] == [f"{last.number}: topic {last.number}", "3 leaves"]
    assert lines[3] == f"d0  (d0 0:{len(TEXTS['d0'])})"
    assert len(lines) == 6


def test_depth_says_how_many_layers(store: Path) -> None:
    def count(depth: int) -> int:
        shown = cli("tree", "show", "--store", store, "--depth", depth).stdout
        return len(shown.splitlines()) - 1

    assert [count(1), count(2), count(3), count(9)] == [2, 6, 18, 18]


def test_show_as_json_has_nodes_and_leaves(store: Path) -> None:
    (found,) = records(cli("tree", "show", "--store", store, "--json").stdout)
    assert (found["method"], found["leaves"], found["inner_nodes"]) == ("bottom-up", 12, 7)
    assert len(found["nodes"]) == 7
    assert found["nodes"][0]["parent"] is None
    leaves = [leaf for node in found["nodes"] for leaf in node["leaves"]]
    assert {leaf["document_id"] for leaf in leaves} == set(TEXTS)
    (found,) = records(cli("tree", "show", "--store", store, "--json", "--depth", 1).stdout)
    assert [node["depth"] for node in found["nodes"]] == [0, 1, 1]


def test_a_wrong_node_or_depth_is_refused(store: Path) -> None:
    line = error("tree", "show", 99, "--store", store, code=2)
    assert line.startswith("error: The tree has no node 99: hoptrail tree show")
    line = error("tree", "show", "--store", store, "--depth", 0, code=2)
    assert line == "error: A tree is shown to a depth of at least 1, not 0."


def test_show_shows_control_characters_and_does_not_obey_them(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", {"a\x1b[2Jb": "x \x9b1m\u202e"})
    plant(root, "{} [bold]\x1b[31m :smile:\u202e\n2: fake" + "w" * 200)
    shown = cli("tree", "show", "--store", root).stdout
    assert not set(shown) & set("\x1b\x9b\u202e")
    assert "[bold]" in shown
    assert ":smile:" in shown
    assert len(shown.splitlines()) == 3
    assert max(map(len, shown.splitlines())) <= 96


@pytest.mark.parametrize("command", ["show", "page"])
def test_a_store_without_a_tree_says_how_to_make_one(tmp_path: Path, command: str) -> None:
    root = make_store(tmp_path / "s", TEXTS)
    more = [tmp_path / "page.html"] if command == "page" else []
    line = error("tree", command, *more, "--store", root)
    assert f"has no tree. Make one: hoptrail tree build --store {root}" in line
    assert not (tmp_path / "page.html").exists()
    assert "No store of tenant" in error("tree", command, *more, "--store", tmp_path / "none")
    assert "No store is named" in error("tree", command, *more, code=2)


# drop


def test_drop_removes_the_tree_and_no_document(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", TEXTS)
    plant(root)
    assert cli("tree", "drop", "--store", root).stdout == f"dropped the tree of {root}\n"
    assert "has no tree" in error("tree", "show", "--store", root)
    again = cli("tree", "drop", "--store", root)
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "there is no tree\n")
    assert records(cli("tree", "drop", "--store", root, "--json").stdout) == [{"event": "none"}]
    assert cli("stats", root).exit_code == 0
    assert "No store of tenant" in error("tree", "drop", "--store", tmp_path / "none")


def test_drop_removes_a_tree_that_cannot_be_read(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", TEXTS)
    plant(root)
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
    root = make_store(tmp_path / "s", TEXTS)
    plant(root)
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
    root = make_store(tmp_path / "s", TEXTS)
    plant(root)
    with Store.open(root) as opened:
        opened.commit((), ["d0", "d5"])
    (found,) = records(cli("tree", "show", "--store", root, "--json").stdout)
    held = {leaf["document_id"] for node in found["nodes"] for leaf in node["leaves"]}
    assert held == set(TEXTS) - {"d0", "d5"}
    out = tmp_path / "page.html"
    assert "over 10 passages" in cli("tree", "page", out, "--store", root).stdout
    assert "Port 5" not in out.read_text(encoding="utf-8")


# growing


def test_ingest_and_delete_grow_the_tree_and_say_so(tmp_path: Path) -> None:
    corpus, root = tmp_path / "c.jsonl", tmp_path / "s"
    lines = [json.dumps({"id": one, "title": one, "text": text}) for one, text in TEXTS.items()]
    corpus.write_text("\n".join(lines[:9]), encoding="utf-8")
    ingest = ("ingest", corpus, "--store", root, "--embedder", "hash")
    assert cli(*ingest).exit_code == 0
    plant(root)
    assert "tree" not in cli(*ingest).stderr
    corpus.write_text("\n".join(lines), encoding="utf-8")
    grown = cli(*ingest)
    assert re.fullmatch(r"the tree has grown with it: 12 leaves below \d+ nodes\n", grown.stderr), (
        grown.stderr
    )
    (found,) = records(cli("tree", "show", "--store", root, "--json", "--depth", 8).stdout)
    held = {leaf["document_id"] for node in found["nodes"] for leaf in node["leaves"]}
    assert held == set(TEXTS)
    deleted = records(cli("delete", "d3", "--store", root, "--json").stdout)
    assert [one["event"] for one in deleted] == ["deleted", "tree"]
    assert deleted[1]["leaves"] == 11


def test_a_tree_that_cannot_grow_is_told_and_the_documents_are_in(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", TEXTS)
    plant(root)
    (root / "default" / "tree.db").write_bytes(b"no database" * 1000)
    result = cli("delete", "d3", "--store", root)
    assert (result.exit_code, result.stdout) == (0, "deleted d3\n")
    assert result.stderr.startswith("warning: the tree did not grow: The tree ")


# page


def test_a_page_draws_every_node_and_leaf(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    made_ = cli("tree", "page", out, "--store", store)
    assert (made_.exit_code, made_.stderr) == (0, "")
    assert made_.stdout == f"{out}: 7 nodes over 12 passages\n"
    page = Reader(out.read_text(encoding="utf-8"))
    page.check()
    assert "url(" not in out.read_text()
    assert sum(tag == "rect" for tag, _ in page.tags) == 7 + 12
    assert sum(tag == "details" for tag, _ in page.tags) == 7
    assert all(text in page.text for text in TEXTS.values())
    assert f"The tree of {store}" in page.text
    assert "The search" not in page.text


def test_a_receipt_is_drawn_into_the_tree(
    store: Path, receipt: Path, answer: Receipt, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    drawn_ = cli("tree", "page", out, "--store", store, "--receipt", receipt)
    assert (drawn_.exit_code, drawn_.stderr) == (0, "")
    places = len({item.passage_id for item in answer.evidence})
    assert drawn_.stdout.splitlines()[1] == (
        "The search opened 2 nodes; the evidence stands in " + (
            "1 passage" if places == 1 else f"{places} passages"
        )
    )  # fmt: skip
    page = Reader(out.read_text(encoding="utf-8"))
    page.check()
    assert QUESTION in page.text
    for item in answer.evidence:
        assert item.quote in page.text
    assert page.attributes("value") == ["0.900", "0.250", "1.000", "0.500", "0.750"]
    assert "#1, iteration 1: the whole tree, opened at 0.50: 2 of 2 children scored" in page.text
    assert "2 of 3 children scored" in page.text
    assert "not scored" in page.text
    assert "shown for scale" in page.text
    opened = [found for tag, found in page.tags if tag == "details" and "open" in found]
    assert "n0" in {one.get("id") for one in opened}
    assert page.attributes("class").count("way") >= 3
    again = cli("tree", "page", tmp_path / "again.html", "--store", store, "--receipt", receipt)
    assert again.exit_code == 0
    assert (tmp_path / "again.html").read_bytes() == out.read_bytes()


def test_what_the_tree_has_no_longer_is_left_out_and_told(
    store: Path, receipt: Path, tmp_path: Path
) -> None:
    whole = Receipt.parse(receipt.read_bytes())
    lost = SlateRecord(
        node=99, standing=0.5, reserve=True, leaves=True, shown=(1,), anchors=0, scores=(0.5,),
        failed=False,
    )  # fmt: skip
    steps = (*whole.steps, StepRecord(node="navigate", action="score", slates=(lost,)))
    changed = [replace(one, passage_id="gone") for one in whole.evidence[:1]]
    path, out = tmp_path / "r.json", tmp_path / "page.html"
    path.write_text(replace(whole, steps=steps, evidence=(*changed, *whole.evidence[1:])).json())
    told = cli("tree", "page", out, "--store", store, "--receipt", path)
    assert told.exit_code == 0
    assert told.stderr.splitlines() == [
        "warning: 1 quote left out, of passages that do not stand in the tree",
        "warning: 1 node of the search left out: the tree has changed since",
    ]
    Reader(out.read_text(encoding="utf-8")).check()


def test_a_receipt_without_a_search_still_shows_where_the_evidence_is(
    store: Path, answer: Receipt, tmp_path: Path
) -> None:
    path, out = tmp_path / "r.json", tmp_path / "page.html"
    path.write_text(answer.json())
    told = cli("tree", "page", out, "--store", store, "--receipt", path)
    assert told.stderr == (
        "the answer was not found by a search of the tree: only its evidence is marked\n"
    )
    assert "The search" not in Reader(out.read_text(encoding="utf-8")).text


def test_a_receipt_of_another_store_is_refused(
    answer: Receipt, store: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "r.json", tmp_path / "page.html"
    path.write_text(
        replace(
            answer, evidence=tuple(replace(one, document_id="no") for one in answer.evidence)
        ).json()
    )
    line = error("tree", "page", out, "--store", store, "--receipt", path, code=2)
    assert line.startswith("error: None of the receipt's quotes stands in the store")
    path.write_text("{}")
    line = error("tree", "page", out, "--store", store, "--receipt", path, code=2)
    assert "is no receipt of this version" in line
    line = error("tree", "page", tmp_path / "no" / "p.html", "--store", store, code=2)
    assert "The page cannot be written" in line
    assert not out.exists()


def test_no_text_of_a_document_becomes_markup(tmp_path: Path) -> None:
    texts = {f"A{NASTY}{at}": f"The {NASTY} of Nansen was seen {at}." for at in range(5)}
    root, path = make_store(tmp_path / "s", texts), tmp_path / "r.json"
    tree = plant(root, f"{{}} {NASTY}")
    asked = cli("ask", f"Who saw Nansen {NASTY}?", "--store", root, "--receipt", path)
    assert asked.exit_code == 0, asked.output
    path.write_text(searched(Receipt.parse(path.read_bytes()), tree).json())
    out = tmp_path / "page.html"
    assert cli("tree", "page", out, "--store", root, "--receipt", path).exit_code == 0
    text = out.read_text(encoding="utf-8")
    Reader(text).check()
    assert "<script" not in text
    assert not set(text) & set("\x00\x1b\u202e")
    assert "alert(1)" in Reader(text).text


def test_of_a_large_tree_what_was_searched_is_shown_and_what_there_is_room_for(
    store: Path, answer: Receipt
) -> None:
    with Store.open(store) as opened:
        tree = load_tree(opened)
        last = [node for node in tree.nodes.values() if node.rows][-1]
        whole = looked_at(tree, opened)
        few = looked_at(tree, opened, most=2)
        step = StepRecord(
            node="navigate", action="score", slates=(slate(tree, last.number, [0.1, 0.2, 0.3]),)
        )
        way = road(replace(answer, evidence=(), steps=(step,)), tree, opened)
        found = looked_at(tree, opened, way, most=0)
    assert whole.expanded == set(tree.nodes)
    assert few.expanded == {ROOT}
    assert found.expanded == set(tree.path(last.number))
    assert set(found.passages) == set(last.rows)
    page = Reader(tree_page(found, "x"))
    page.check()
    assert "Not shown: hoptrail tree show" in page.text


def test_what_was_searched_is_drawn_larger_and_greener(store: Path, answer: Receipt) -> None:
    with Store.open(store) as opened:
        tree = load_tree(opened)
        way = road(searched(answer, tree), tree, opened)
        boxes = heights(looked_at(tree, opened, way))
        thousand = replace(tree.nodes[ROOT], count=100_000)
        crowded = replace(tree, nodes={**tree.nodes, ROOT: thousand})
        flat = heights(looked_at(crowded, opened, way))
    assert {height for height, _ in boxes.values()} >= {18.0}
    opened_nodes = [Ref(leaf=False, number=one) for one in way.opened]
    assert all(flat[f"#n{one.number}"][0] >= 18 for one in opened_nodes)
    scored = sorted(way.scores.items(), key=lambda one: one[1])
    reds = [int(boxes[key(ref)][1][1:3], 16) for ref, _ in scored]
    assert reds == sorted(reds, reverse=True)
    rest = [one for one in flat if one not in {key(ref) for ref in marked(way, tree)}]
    assert rest == []


def key(ref: Ref) -> str:
    return f"#{'r' if ref.leaf else 'n'}{ref.number}"


def marked(way: TreeSearchTrace, tree: Tree) -> set[Ref]:
    """What a search came by, and what stands above it."""
    leaves = {Ref(leaf=True, number=one.row) for one in way.proofs}
    nodes = {number for number in way.opened for number in tree.path(number)}
    for node in tree.nodes.values():
        if any(Ref(leaf=True, number=row) in leaves for row in node.rows):
            nodes.update(tree.path(node.number))
    return leaves | set(way.scores) | {Ref(leaf=False, number=one) for one in nodes}


def heights(sight: TreeSelection) -> dict[str, tuple[float, str]]:
    """Height and colour of what is drawn, by where a click leads."""
    found: dict[str, tuple[float, str]] = {}
    for link in picture(sight):
        rect = link.find("rect")
        assert rect is not None
        found[link.attrib["href"]] = (float(rect.attrib["height"]), rect.attrib["fill"])
    return found


def test_children_never_reach_beyond_their_parent(store: Path) -> None:
    with Store.open(store) as opened:
        tree = load_tree(opened)
        boxes = heights(looked_at(tree, opened))
    for node in tree.nodes.values():
        below = sum(boxes[key(ref)][0] for ref in children(node))
        assert np.isclose(below, boxes[f"#n{node.number}"][0])


def test_a_tree_without_leaves_is_drawn(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", {"d": "text"})
    plant(root)
    assert cli("delete", "d", "--store", root).exit_code == 0
    shown = cli("tree", "show", "--store", root)
    assert shown.stdout.startswith("0 passages below 1 node: ")
    out = tmp_path / "page.html"
    assert cli("tree", "page", out, "--store", root).exit_code == 0
    Reader(out.read_text(encoding="utf-8")).check()
