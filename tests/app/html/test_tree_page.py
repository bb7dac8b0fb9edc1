"""The page of a tree: what is drawn of it and of a search, and that nothing on it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.cli import RECORDS, cli, error, make_store
from support.html import Reader
from support.tree import plant

from hoptrail.agents.runs.receipt import Receipt
from hoptrail.agents.types import SlateRecord, StepRecord
from hoptrail.app.html.tree_page import tree_page
from hoptrail.app.html.tree_selection import (
    TreeSearchTrace,
    TreeSelection,
    child_refs,
    search_trace,
    select_nodes,
)
from hoptrail.app.html.tree_svg import tree_svg
from hoptrail.rag.store.store import Store
from hoptrail.rag.tree.search.types import Ref
from hoptrail.rag.tree.types import ROOT, Tree
from hoptrail.rag.tree.view import load_tree

QUESTION = "What is record 7 about?"
NASTY = "</title></style><script>alert(1)</script>\" onload='x' & <b>\x00\x1b[2J\u202e"


@pytest.fixture(scope="module")
def answer(tree_store: Path) -> Receipt:
    """What was found without the tree."""
    result = cli("ask", QUESTION, "--store", tree_store, "--strategy", "single", "--json")
    assert result.exit_code == 0, result.output
    return Receipt.parse(result.stdout)


def slate(tree: Tree, number: int, scores: Sequence[float | None], anchors: int = 0) -> SlateRecord:
    """An opened node; the anchors are the leaves or nodes with the smallest numbers."""
    below = child_refs(tree.nodes[number])
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
def tree_receipt(tree_store: Path, answer: Receipt, tmp_path: Path) -> Path:
    with Store.open(tree_store) as opened:
        whole = searched(answer, load_tree(opened))
    (tmp_path / "receipt.json").write_text(whole.json(), encoding="utf-8")
    return tmp_path / "receipt.json"


def test_a_page_draws_every_node_and_leaf(tree_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    made_ = cli("tree", "page", out, "--store", tree_store)
    assert (made_.exit_code, made_.stderr) == (0, "")
    assert made_.stdout == f"{out}: 7 nodes over 12 passages\n"
    page = Reader(out.read_text(encoding="utf-8"))
    page.check()
    assert "url(" not in out.read_text()
    assert sum(tag == "rect" for tag, _ in page.tags) == 7 + 12
    assert sum(tag == "details" for tag, _ in page.tags) == 7
    assert all(text in page.text for text in RECORDS.values())
    assert f"The tree of {tree_store}" in page.text
    assert "The search" not in page.text


def test_a_receipt_is_drawn_into_the_tree(
    tree_store: Path, tree_receipt: Path, answer: Receipt, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    drawn_ = cli("tree", "page", out, "--store", tree_store, "--receipt", tree_receipt)
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
    again = cli(
        "tree", "page", tmp_path / "again.html", "--store", tree_store, "--receipt", tree_receipt
    )
    assert again.exit_code == 0
    assert (tmp_path / "again.html").read_bytes() == out.read_bytes()


def test_what_the_tree_has_no_longer_is_left_out_and_told(
    tree_store: Path, tree_receipt: Path, tmp_path: Path
) -> None:
    whole = Receipt.parse(tree_receipt.read_bytes())
    lost = SlateRecord(
        node=99, standing=0.5, reserve=True, leaves=True, shown=(1,), anchors=0, scores=(0.5,),
        failed=False,
    )  # fmt: skip
    steps = (*whole.steps, StepRecord(node="navigate", action="score", slates=(lost,)))
    changed = [replace(one, passage_id="gone") for one in whole.evidence[:1]]
    path, out = tmp_path / "r.json", tmp_path / "page.html"
    path.write_text(replace(whole, steps=steps, evidence=(*changed, *whole.evidence[1:])).json())
    told = cli("tree", "page", out, "--store", tree_store, "--receipt", path)
    assert told.exit_code == 0
    assert told.stderr.splitlines() == [
        "warning: 1 quote left out, of passages that do not stand in the tree",
        "warning: 1 node of the search left out: the tree has changed since",
    ]
    Reader(out.read_text(encoding="utf-8")).check()


def test_a_receipt_without_a_search_still_shows_where_the_evidence_is(
    tree_store: Path, answer: Receipt, tmp_path: Path
) -> None:
    path, out = tmp_path / "r.json", tmp_path / "page.html"
    path.write_text(answer.json())
    told = cli("tree", "page", out, "--store", tree_store, "--receipt", path)
    assert told.stderr == (
        "the answer was not found by a search of the tree: only its evidence is marked\n"
    )
    assert "The search" not in Reader(out.read_text(encoding="utf-8")).text


def test_a_receipt_of_another_store_is_refused(
    answer: Receipt, tree_store: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "r.json", tmp_path / "page.html"
    path.write_text(
        replace(
            answer, evidence=tuple(replace(one, document_id="no") for one in answer.evidence)
        ).json()
    )
    line = error("tree", "page", out, "--store", tree_store, "--receipt", path, code=2)
    assert line.startswith("error: None of the receipt's quotes stands in the store")
    path.write_text("{}")
    line = error("tree", "page", out, "--store", tree_store, "--receipt", path, code=2)
    assert "is no receipt of this version" in line
    line = error("tree", "page", tmp_path / "no" / "p.html", "--store", tree_store, code=2)
    assert "The page cannot be written" in line
    assert not out.exists()


def test_no_text_of_a_document_becomes_markup(tmp_path: Path) -> None:
    texts = {f"A{NASTY}{at}": f"The {NASTY} of Nansen was seen {at}." for at in range(5)}
    root, path = make_store(tmp_path / "s", texts), tmp_path / "r.json"
    tree = plant(root, fanout=3, text=f"topic {{}} {NASTY}")
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
    tree_store: Path, answer: Receipt
) -> None:
    with Store.open(tree_store) as opened:
        tree = load_tree(opened)
        last = [node for node in tree.nodes.values() if node.rows][-1]
        whole = select_nodes(tree, opened)
        few = select_nodes(tree, opened, most=2)
        step = StepRecord(
            node="navigate", action="score", slates=(slate(tree, last.number, [0.1, 0.2, 0.3]),)
        )
        way = search_trace(replace(answer, evidence=(), steps=(step,)), tree, opened)
        found = select_nodes(tree, opened, way, most=0)
    assert whole.expanded == set(tree.nodes)
    assert few.expanded == {ROOT}
    assert found.expanded == set(tree.path(last.number))
    assert set(found.passages) == set(last.rows)
    page = Reader(tree_page(found, "x"))
    page.check()
    assert "Not shown: hoptrail tree show" in page.text


def test_what_was_searched_is_drawn_larger_and_greener(tree_store: Path, answer: Receipt) -> None:
    with Store.open(tree_store) as opened:
        tree = load_tree(opened)
        way = search_trace(searched(answer, tree), tree, opened)
        boxes = heights(select_nodes(tree, opened, way))
        thousand = replace(tree.nodes[ROOT], count=100_000)
        crowded = replace(tree, nodes={**tree.nodes, ROOT: thousand})
        flat = heights(select_nodes(crowded, opened, way))
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
    leaves = {Ref(leaf=True, number=one.row) for one in way.evidence_leaves}
    nodes = {number for number in way.opened for number in tree.path(number)}
    for node in tree.nodes.values():
        if any(Ref(leaf=True, number=row) in leaves for row in node.rows):
            nodes.update(tree.path(node.number))
    return leaves | set(way.scores) | {Ref(leaf=False, number=one) for one in nodes}


def heights(sight: TreeSelection) -> dict[str, tuple[float, str]]:
    """Height and colour of what is drawn, by where a click leads."""
    found: dict[str, tuple[float, str]] = {}
    for link in tree_svg(sight):
        rect = link.find("rect")
        assert rect is not None
        found[link.attrib["href"]] = (float(rect.attrib["height"]), rect.attrib["fill"])
    return found


def test_children_never_reach_beyond_their_parent(tree_store: Path) -> None:
    with Store.open(tree_store) as opened:
        tree = load_tree(opened)
        boxes = heights(select_nodes(tree, opened))
    for node in tree.nodes.values():
        below = sum(boxes[key(ref)][0] for ref in child_refs(node))
        assert np.isclose(below, boxes[f"#n{node.number}"][0])


def test_a_tree_without_leaves_is_drawn(tmp_path: Path) -> None:
    root = make_store(tmp_path / "s", {"d": "text"})
    plant(root, fanout=3, text="topic {}")
    assert cli("delete", "d", "--store", root).exit_code == 0
    shown = cli("tree", "show", "--store", root)
    assert shown.stdout.startswith("0 passages below 1 node: ")
    out = tmp_path / "page.html"
    assert cli("tree", "page", out, "--store", root).exit_code == 0
    Reader(out.read_text(encoding="utf-8")).check()
