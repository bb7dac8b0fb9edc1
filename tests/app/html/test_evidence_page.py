"""The page of an answer's evidence: its quotes, the names that link them, and what it refuses."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.agents import CHAIN, QUESTION, make_chain
from support.cli import TEXTS, cli, error, make_store
from support.html import Reader

from hoptrail.agents.runs.receipt import Receipt
from hoptrail.app.html.graph_svg import GraphBox, GraphEdge, graph_svg, layers
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Via

NAME = "Ilsa Corrin"


def test_a_page_shows_quotes_and_the_names_that_link_them(
    chain: Path, chain_receipt: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    made = cli("graph", "page", chain_receipt, "--store", chain, "-o", out)
    assert made.exit_code == 0, made.output
    assert re.fullmatch(r".*page.html: \d+ passages and \d+ names that link them\n", made.stdout)
    assert made.stderr == ""
    page, answered = (
        Reader(out.read_text(encoding="utf-8")),
        Receipt.parse(chain_receipt.read_text()),
    )
    for item in answered.evidence:
        assert item.quote in page.text
    assert QUESTION in page.text
    assert {"Ilsa Corrin", "Heron"} <= {one.strip() for one in page.text.split("\n")} | set(
        re.findall(r"Ilsa Corrin|Heron", page.text)
    )
    page.check()
    assert "as in the store" in page.text
    assert "changed since" not in page.text


def test_a_page_loads_nothing_and_runs_nothing(
    chain: Path, chain_receipt: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    cli("graph", "page", chain_receipt, "--store", chain, "-o", out)
    page = Reader(out.read_text(encoding="utf-8"))
    page.check()
    assert "url(" not in out.read_text()


def test_the_same_receipt_gives_the_same_page(
    chain: Path, chain_receipt: Path, tmp_path: Path
) -> None:
    for name in ("a.html", "b.html"):
        cli("graph", "page", chain_receipt, "--store", chain, "-o", tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


NASTY = "</title></style><script>alert(1)</script>\" onload='x' & <b>\x00\x1b"


def test_no_text_of_a_document_becomes_markup(tmp_path: Path) -> None:
    body = f"The {NASTY} of Nansen was seen. It was near Nansen."
    store, receipt = tmp_path / "s", tmp_path / "r.json"
    make_store(store, {f"A{NASTY}": body, f"B{NASTY}": f"Then Nansen met {NASTY} again."})
    question = f"What did Nansen {NASTY} see?"
    made = cli("ask", question, "--store", store, "--receipt", receipt)
    assert made.exit_code == 0, made.output
    out = tmp_path / "page.html"
    assert cli("graph", "page", receipt, "--store", store, "-o", out).exit_code == 0
    page, text = Reader(out.read_text(encoding="utf-8")), out.read_text()
    assert "<script" not in text
    assert "<b>" not in text
    assert not set(text) & {"\x00", "\x1b"}
    page.check()
    assert "alert(1)" in page.text


def test_a_road_is_drawn_through_a_passage_that_was_not_quoted(
    chain: Path, chain_receipt: Path, tmp_path: Path
) -> None:
    answered = Receipt.parse(chain_receipt.read_text())
    with Store.open(chain) as store:
        source, target = store.passages_of("d2")[0], store.passages_of("d3")[0]
    item = replace(
        answered.evidence[0], passage_id=target.id, document_id="d3", title="Tarn Hollow", start=0,
        end=11, quote="Tarn Hollow", via=Via(name="Tarn Hollow", passage_id=source.id, title=NAME),
    )  # fmt: skip
    path, out = tmp_path / "r.json", tmp_path / "page.html"
    path.write_text(replace(answered, evidence=(item,)).json())
    assert cli("graph", "page", path, "--store", chain, "-o", out).exit_code == 0
    page = Reader(out.read_text(encoding="utf-8"))
    assert "Reached by the name Tarn Hollow from Ilsa Corrin." in page.text
    assert "The search passed through it; nothing of it is quoted." in page.text
    roads = [one for one in page.attributes("class") if one.startswith("hop ")]
    assert len(roads) == 2
    assert {end for one in roads for end in one.split()[1:]} >= {"p1", "p2"}


def test_a_quote_that_the_store_has_no_longer_is_marked(tmp_path: Path) -> None:
    store, path, out = (
        make_chain(tmp_path / "s", graph="links"),
        tmp_path / "r.json",
        tmp_path / "page.html",
    )
    cli("ask", QUESTION, "--store", store, "--receipt", path)
    answered = Receipt.parse(path.read_text())
    gone = answered.evidence[0]
    assert cli("delete", gone.document_id, "--store", store).exit_code == 0
    made = cli("graph", "page", path, "--store", store, "-o", out)
    assert made.exit_code == 0
    count = sum(one.document_id == gone.document_id for one in answered.evidence)
    plural = "" if count == 1 else "s"
    assert made.stderr == (
        f"warning: {count} quote{plural} no longer in the store: marked red on the page\n"
    )
    page = Reader(out.read_text(encoding="utf-8"))
    assert page.attributes("class").count("changed") == count
    assert gone.quote in page.text
    assert "the store's document has changed since" in page.text


def test_a_receipt_of_another_store_is_refused(chain_receipt: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    for name, texts in (("other", TEXTS), ("alike", dict.fromkeys(CHAIN, "quite another text"))):
        make_store(tmp_path / name, texts)
        line = error("graph", "page", chain_receipt, "--store", tmp_path / name, "-o", out, code=2)
        assert f"None of the receipt's quotes stands in the store at '{tmp_path / name}'" in line
        assert "name the store that the answer was given from" in line
    assert not out.exists()


def broken(text: str) -> dict[str, str]:
    """Files that are no receipts, and what is said of each."""
    without = {key: value for key, value in json.loads(text).items() if key != "evidence"}
    return {
        "": "is no receipt of this version of hoptrail: invalid json",
        "{": "is no receipt of this version of hoptrail: invalid json",
        "[]": "is no receipt of this version of hoptrail: ",
        json.dumps(without): "is no receipt of this version of hoptrail: evidence: field required",
        text.replace('"schema_version": "2"', '"schema_version": "7"'): "schema_version: ",
        "\udcff": "is no receipt of this version of hoptrail: ",
    }


@pytest.mark.parametrize("number", range(6))
def test_a_broken_receipt_is_refused(
    chain: Path, chain_receipt: Path, tmp_path: Path, number: int
) -> None:
    text, why = list(broken(chain_receipt.read_text()).items())[number]
    path = tmp_path / "r.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    line = error("graph", "page", path, "--store", chain, "-o", tmp_path / "p.html", code=2)
    assert why in line
    assert line.endswith("Write one with hoptrail ask --receipt FILE.")


def test_a_receipt_that_cannot_be_read_or_drawn_is_refused(
    chain: Path, chain_receipt: Path, tmp_path: Path
) -> None:
    out = tmp_path / "page.html"
    line = error("graph", "page", tmp_path / "no.json", "--store", chain, "-o", out, code=2)
    assert "no.json' cannot be read: No such file or directory." in line
    path = tmp_path / "r.json"
    path.write_text(replace(Receipt.parse(chain_receipt.read_text()), evidence=()).json())
    line = error("graph", "page", path, "--store", chain, "-o", out, code=2)
    assert "The receipt has no evidence, so there is nothing to draw" in line
    line = error("graph", "page", chain_receipt, "--store", chain, "-o", tmp_path, code=2)
    assert f"The page cannot be written to '{tmp_path}'" in line


def box(name: str) -> GraphBox:
    return GraphBox(id=name, kind="name", label=name, hint=name)


def test_columns_go_by_distance_and_lines_cross_little() -> None:
    boxes = [box(name) for name in ("q", "a", "b", "x", "y", "z")]
    lines = [
        GraphEdge(source="q", target="a"), GraphEdge(source="q", target="b"),
        GraphEdge(source="a", target="y"),
        GraphEdge(source="b", target="x"), GraphEdge(source="q", target="z", weight=2),
    ]  # fmt: skip
    found = layers(boxes, lines)
    assert found[:2] == [["q"], ["a", "b"]]
    assert found[2].index("y") < found[2].index("x")
    drawing = graph_svg(boxes, lines)
    corners = {(one.get("x"), one.get("y")) for one in drawing.iter("rect")}
    assert len(corners) == len(boxes)
