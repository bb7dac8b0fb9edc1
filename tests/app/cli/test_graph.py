"""hoptrail graph show and import, and what search says of hops, as they are typed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.agents import CHAIN, QUESTION, make_chain
from support.cli import cli, error, make_store, records

from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.store.store import Store, StoreSpec
from hoptrail.rag.types import Document, IndexedDocument

NAME = "Ilsa Corrin"


@pytest.fixture
def unlinked(tmp_path: Path) -> Path:
    """A store without a passage graph."""
    embedder = HashEmbedder()
    spec = StoreSpec(embedder=embedder.id, dimension=embedder.dimension, graph="none")
    Store.create(tmp_path / "unlinked", spec).close()
    return tmp_path / "unlinked"


def written(path: Path, *lines: object) -> Path:
    """A file of JSON lines; a text is written as it is."""
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    path.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return path


# show


def test_show_says_what_is_about_a_name_and_who_mentions_it(chain: Path) -> None:
    lines = cli("graph", "show", "ilsa corrin", "--store", chain).stdout.splitlines()
    assert lines[0] == NAME
    about, mentioned, around = (
        lines.index(head)
        for head in ("About it: 1 passage", "Mentioned in: 1 passage", "Neighbourhood")
    )
    assert lines[about + 1].startswith("  Ilsa Corrin  (d2 0:")
    assert lines[mentioned + 1].startswith("  Heron (ship)  (d1 0:")
    assert lines[around + 1] == "  1. Ilsa Corrin"
    assert any("mentions Tarn Hollow" in line for line in lines[around:])


def test_show_as_json_has_the_whole_neighbourhood(chain: Path) -> None:
    (found,) = records(cli("graph", "show", NAME, "--store", chain, "--json").stdout)
    assert found["name"] == NAME
    assert [one["document_id"] for one in found["about"]] == ["d2"]
    assert [one["document_id"] for one in found["mentioned_in"]] == ["d1"]
    assert found["mentioned"] >= 1
    assert found["triples"] == []
    names = [one["label"] for one in found["nodes"] if one["kind"] == "name"]
    assert {NAME, "Tarn Hollow", "Veil Institute"} <= set(names)
    for link in found["links"]:
        assert max(link["source"], link["target"]) < len(found["nodes"])
    assert found["text"].startswith("1. Ilsa Corrin\n  1.1. about it: “Ilsa Corrin”")


def test_hops_query_and_filter_change_the_neighbourhood(chain: Path) -> None:
    def levels(*more: object) -> set[int]:
        (found,) = records(cli("graph", "show", NAME, "--store", chain, "--json", *more).stdout)
        return {one["level"] for one in found["nodes"]}

    assert levels("--hops", 1) == {0, 1}
    assert levels("--hops", 3) == {0, 1, 2, 3}
    assert levels("--query", "Where were stars read?") == {0, 1, 2}
    line = error("graph", "show", NAME, "--store", chain, "--where", "kind=d5", code=2)
    assert "No passage that --where keeps is about 'Ilsa Corrin' or mentions it" in line


def test_show_lists_imported_triples(tmp_path: Path) -> None:
    store = make_chain(tmp_path, graph="links")
    triples = [[NAME, "born at", f"Place {number}"] for number in range(12)]
    file = written(tmp_path / "t.jsonl", {"id": "d2", "triples": triples})
    assert cli("graph", "import", file, "--store", store).exit_code == 0
    shown = cli("graph", "show", NAME, "--store", store).stdout
    assert "    Ilsa Corrin | born at | Place 0 (Ilsa Corrin)\n" in shown
    assert "    and 2 more (--json has all)\n" in shown
    (found,) = records(cli("graph", "show", NAME, "--store", store, "--json").stdout)
    assert len(found["triples"]) == 12
    assert found["triples"][0]["relation"] == "born at"


def test_a_name_in_very_many_passages_is_counted_and_not_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The package has a function of the same name as the module.
    profile = import_module("hoptrail.rag.passage_graph.entity_profile")
    monkeypatch.setattr(profile, "MANY", 3)
    texts = {f"d{at}": f"on day {at} we met Nansen there" for at in range(4)}
    store = make_store(tmp_path / "s", texts)
    shown = cli("graph", "show", "Nansen", "--store", store).stdout
    assert "Mentioned in: 3 passages or more\n" in shown
    (found,) = records(cli("graph", "show", "Nansen", "--store", store, "--json").stdout)
    assert (found["mentioned"], found["mentioned_in"]) == (3, [])


def test_a_name_that_is_not_there_is_answered_with_near_ones(chain: Path) -> None:
    line = error("graph", "show", "Ilsa Corin", "--store", chain, code=2)
    assert line == (
        "error: No passage is about 'Ilsa Corin' or mentions it: did you mean 'Ilsa Corrin'?"
    )
    line = error("graph", "show", "Xylophone", "--store", chain, code=2)
    assert "or mentions it: hoptrail search looks for words instead." in line


@pytest.mark.parametrize("name", ["", " ", "?!"])
def test_an_empty_name_is_refused(chain: Path, name: str) -> None:
    line = error("graph", "show", name, "--store", chain, code=2)
    assert line == f"error: The name {name!r} is empty: give a word or more."


def test_wrong_options_of_show_are_refused(chain: Path) -> None:
    line = error("graph", "show", NAME, "--store", chain, "--hops", 0, code=2)
    assert "needs hops >= 1, not 0" in line
    line = error("graph", "show", NAME, "--store", chain, "--query", " ", code=2)
    assert "The query is empty" in line
    line = error("graph", "show", NAME, "--store", chain, "--query", "x", "--embedder", "hash-16")
    assert "was made with the embedder" in line


def test_show_shows_control_characters_and_does_not_obey_them(tmp_path: Path) -> None:
    make_store(tmp_path / "s", {"a\x1b[2Jb": "we met Nansen \x1b[31m\x9b1m\u202e there"})
    shown = cli("graph", "show", "Nansen", "--store", tmp_path / "s").stdout
    assert "Nansen" in shown
    assert not set(shown) & set("\x1b\x9b\u202e")


# where there is nothing to look at


def commands(tmp_path: Path, receipt: Path) -> Mapping[str, tuple[object, ...]]:
    file = written(tmp_path / "t.jsonl", {"id": "d1", "triples": []})
    return {
        "show": ("show", NAME),
        "page": ("page", receipt, "-o", tmp_path / "page.html"),
        "import": ("import", file),
    }


@pytest.mark.parametrize("command", ["show", "page", "import"])
def test_no_store(tmp_path: Path, chain_receipt: Path, command: str) -> None:
    arguments = commands(tmp_path, chain_receipt)[command]
    line = error("graph", *arguments, "--store", tmp_path / "none")
    assert f"No store of tenant 'default' at '{tmp_path / 'none'}'" in line
    assert "No store is named: give --store DIR" in error("graph", *arguments, code=2)
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("command", ["show", "import"])
def test_a_store_without_a_graph(
    tmp_path: Path, chain_receipt: Path, unlinked: Path, command: str
) -> None:
    line = error("graph", *commands(tmp_path, chain_receipt)[command], "--store", unlinked)
    assert "This store was made without a passage graph" in line


def test_a_page_from_a_store_without_a_graph(tmp_path: Path) -> None:
    corpus = written(
        tmp_path / "c.jsonl",
        *({"id": name, "title": title, "text": text} for name, (title, text) in CHAIN.items()),
    )
    store, receipt = tmp_path / "store", tmp_path / "r.json"
    made = cli("ingest", corpus, "--store", store, "--embedder", "hash", "--graph", "none")
    assert made.exit_code == 0, made.output
    assert cli("ask", QUESTION, "--store", store, "--receipt", receipt).exit_code == 0
    line = error("graph", "page", receipt, "--store", store, "-o", tmp_path / "page.html")
    assert "This store was made without a passage graph" in line
    assert not (tmp_path / "page.html").exists()


# import


def imported(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
    """The exit code and the events of an import."""
    result = cli("graph", "import", *arguments, "--json")
    return result.exit_code, records(result.stdout)


def test_import_takes_documents_and_passages_and_adds_nothing_twice(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "s", graph="links")
    with Store.open(store) as opened:
        passage = opened.passages_of("d3")[0].id
    file = written(
        tmp_path / "t.jsonl",
        {"id": "d2", "entities": ["x"], "triples": [[NAME, "born at", "Tarn Hollow"]] * 2},
        "",
        {"id": passage, "triples": [["Tarn Hollow", "lies in", "Orrin valley"]]},
        {"id": "d5", "triples": []},
    )
    report = {
        "event": "report", "records": 3, "added": 2, "known": 1, "refused": 0, "unknown": 0,
        "generation": 2,
    }  # fmt: skip
    assert imported(file, "--store", store) == (0, [report])
    assert imported(file, "--store", store) == (0, [{**report, "added": 0, "known": 3}])
    (found,) = records(cli("graph", "show", "Orrin valley", "--store", store, "--json").stdout)
    assert [one["passage_id"] for one in found["triples"]] == [passage]
    said = cli("graph", "import", file, "--store", store).stdout
    assert said == (
        "0 triples added, 3 known already, 0 refused; 3 records, 0 of unknown documents\n"
    )


def test_import_reports_what_is_wrong_and_takes_the_rest(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "s", graph="links")
    good, long = [NAME, "kept", "Heron"], "c" * 1001
    file = tmp_path / "t.jsonl.gz"
    lines: list[object] = [
        {"id": "d2", "triples": [good, ["a", "b"], ["a", "b", 3], [" ", "b", "c"], "abc"]},
        {"id": "d2", "triples": [["a", "b", "c", "d"], ["a", "\ud800", "c"], ["a", "b", long]]},
        {"id": "nowhere", "triples": [good]},
        {"id": "d2"},
        {"triples": [good]},
        [good],
        "not json",
        {"id": "d1", "triples": [good]},
    ]  # fmt: skip
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    file.write_bytes(gzip.compress("\n".join(texts).encode()))
    code, events = imported(file, "--store", store)
    assert code == 1
    *told, report = events
    assert [(one["event"], one["line"], one["id"]) for one in told] == [
        *[("refused", 1, "d2")] * 4,
        *[("refused", 2, "d2")] * 3,
        ("unknown", 3, "nowhere"),
        ("refused", 4, "d2"),
        ("refused", 5, None),
        ("refused", 6, None),
        ("refused", 7, None),
    ]
    assert told[0]["reason"].startswith("has a triple, number 2, that is not [subject, relation,")
    assert told[0]["reason"].endswith("['a', 'b']")
    assert told[7]["reason"] == "names 'nowhere', which is no document or passage of the store"
    assert told[8]["reason"] == 'needs "triples", a list of [subject, relation, object]'
    assert told[11]["reason"].startswith("is not JSON")
    assert report == {
        "event": "report", "records": 4, "added": 2, "known": 0, "refused": 11, "unknown": 1,
        "generation": 2,
    }  # fmt: skip


def test_import_tells_people_of_twenty_refusals_and_counts_the_rest(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "s", graph="links")
    file = written(tmp_path / "t.jsonl", *({"id": f"x{at}", "triples": []} for at in range(23)))
    result = cli("graph", "import", file, "--store", store)
    assert result.exit_code == 1
    notes = result.stderr.splitlines()
    assert len(notes) == 21
    assert notes[0] == (
        f"refused: {file}, line 1, names 'x0', which is no document or passage of the store"
    )
    assert notes[-1] == "and 3 more (--json names all)"
    assert result.stdout.startswith("0 triples added")


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.jsonl", b"", "is empty"),
        ("t.jsonl", b"\n\n", "holds no record"),
        ("t.jsonl", b"\xff\xfe{\x00", "is UTF-16"),
        ("t.jsonl", gzip.compress(b'{"id": "d1", "triples": []}'), "looks like a gzip archive"),
        ("t.jsonl.gz", b'{"id": "d1", "triples": []}', "is named .jsonl.gz but looks like text"),
        ("t.jsonl.gz", gzip.compress(b'{"id": "d1", "triples": []}\n' * 99)[:-20], "is a damaged"),
    ],
    ids=("empty", "blank", "utf-16", "packed", "unpacked", "cut"),
)
def test_a_broken_file_is_reported(
    chain: Path, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    code, (told, *_, report) = imported(tmp_path / name, "--store", chain)
    assert code == 1
    assert (told["event"], told["line"]) == ("refused", None)
    assert why in told["reason"]
    assert (report["added"], report["refused"]) == (0, 1)


def test_a_file_that_cannot_be_one_of_triples_is_refused(chain: Path, tmp_path: Path) -> None:
    line = error("graph", "import", tmp_path / "no.jsonl", "--store", chain, code=2)
    assert f"There is no such file: '{tmp_path / 'no.jsonl'}'" in line
    assert "It is a folder" in error("graph", "import", tmp_path, "--store", chain, code=2)
    path = written(tmp_path / "t.json", {})
    line = error("graph", "import", path, "--store", chain, code=2)
    assert f"'{path}' is not named .jsonl or .jsonl.gz" in line


def test_a_document_without_passages_takes_no_triples(tmp_path: Path) -> None:
    store = make_chain(tmp_path / "s", graph="links")
    with Store.open(store) as opened:
        nothing = np.empty((0, opened.spec.dimension), dtype=np.float32)
        empty = Document(id="empty", title="Empty", text=" ")
        opened.commit(
            [IndexedDocument(document=empty, passages=[], vectors=nothing, fingerprint="")]
        )
    file = written(tmp_path / "t.jsonl", {"id": "empty", "triples": [["a", "b", "c"]]})
    code, (told, report) = imported(file, "--store", store)
    assert code == 1
    assert told["reason"] == "names 'empty', which has no passage in the store"
    assert (told["event"], told["line"], report["unknown"]) == ("unknown", 1, 1)


# search, ingest, stats


def test_search_says_by_which_name_a_hit_was_reached(chain: Path) -> None:
    (found,) = records(cli("search", QUESTION, "--store", chain, "--json").stdout)
    assert {hit["source"] for hit in found["hits"]} == {"graph"}
    reached = [hit for hit in found["hits"] if hit["via"] is not None]
    assert reached
    for hit in reached:
        assert set(hit["via"]) == {"name", "passage_id", "title"}
    via = reached[0]["via"]
    shown = cli("search", QUESTION, "--store", chain).stdout
    assert f"    via {via['name']} from {via['title']}\n" in shown
    (hybrid,) = records(
        cli("search", QUESTION, "--store", chain, "--mode", "hybrid", "--json").stdout
    )
    assert {(hit["source"], hit["via"]) for hit in hybrid["hits"]} == {("hybrid", None)}


def test_a_store_can_be_made_without_a_graph(tmp_path: Path) -> None:
    corpus = written(tmp_path / "c.jsonl", {"id": "a", "text": "Nansen built the Fram."})
    plain, store = tmp_path / "plain", tmp_path / "store"
    made = ("ingest", corpus, "--embedder", "hash", "--store")
    assert cli(*made, plain, "--graph", "none").exit_code == 0
    assert cli(*made, store).exit_code == 0
    assert "graph       none\n" in cli("stats", plain).stdout
    assert "graph       links\n" in cli("stats", store).stdout
    (found,) = records(cli("search", "Nansen", "--store", plain, "--json").stdout)
    assert found["hits"][0]["source"] == "hybrid"
    line = error("search", "Nansen", "--store", plain, "--mode", "graph")
    assert "This store was made without a passage graph" in line
    line = error("search", "Nansen", "--store", store, "--mode", "web", code=2)
    assert "Unknown mode 'web': use one of graph, hybrid, lexical, dense." in line
    line = error(*made, plain, "--graph", "links")
    assert "was made with graph 'none', not 'links', and that cannot be changed" in line
    line = error(*made, tmp_path / "new", "--graph", "web", code=2)
    assert "Unknown graph 'web': use one of links, none." in line
    assert not (tmp_path / "new").exists()
