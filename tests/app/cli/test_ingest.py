"""`hoptrail ingest`: acknowledgements, exit codes, what a store is made with, and its bar."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from support.cli import TEXTS, cli, error, records
from support.embedding_server import embedding_server
from support.store import sql

from hoptrail.app.cli.progress import IngestBar
from hoptrail.rag.ingest.pipeline import DocumentCommitted, Progress
from hoptrail.rag.store.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_each_document_is_acknowledged_and_a_second_run_skips_it(
    folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    first = cli("ingest", folder, "--store", store, "--embedder", "hash", "--json")
    assert first.exit_code == 0, first.output
    *events, report = records(first.stdout)
    assert {event["id"] for event in events} == {f"docs/{name}.txt" for name in TEXTS}
    for event in events:
        assert (event["event"], event["passages"], event["generation"]) == ("committed", 1, 1)
    assert (report["event"], report["added"], report["passages"]) == ("report", 3, 3)

    *events, report = records(cli("ingest", folder, "--store", store, "--json").stdout)
    assert {event["event"] for event in events} == {"skipped"}
    assert (report["unchanged"], report["added"]) == (3, 0)


def test_sentence_vectors_are_stored_unless_it_is_told_not_to(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"

    def stored() -> int:
        with Store.open(store) as opened:
            ids = [one.id for name in opened.documents() for one in opened.passages_of(name)]
            return len(opened.sentences.of(ids))

    bare = cli("ingest", folder, "--store", store, "--embedder", "hash", "--no-sentences")
    assert (bare.exit_code, stored()) == (0, 0), bare.output
    full = cli("ingest", folder, "--store", store)
    assert (full.exit_code, stored()) == (0, 3), full.output
    assert "3 unchanged" in full.stdout


def test_what_is_gone_stays_until_it_is_pruned(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    cli("ingest", folder, "--store", store, "--embedder", "hash")
    (folder / "Altar.txt").unlink()
    (folder / "Nightjar.txt").write_text("The Nightjar was lost in 1911.")
    kept = cli("ingest", folder, "--store", store)
    assert kept.stdout.startswith("0 documents added, 1 replaced, 1 unchanged, 0 deleted, 0 failed")
    *events, report = records(cli("ingest", folder, "--store", store, "--prune", "--json").stdout)
    assert {"event": "deleted", "id": "docs/Altar.txt", "generation": 3} in events
    assert report["deleted"] == 1


def test_links_and_documents_of_before_are_told(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    cli("ingest", folder / "Altar.txt", "--store", store, "--embedder", "hash")
    sql(store, "DELETE FROM origins", "DELETE FROM roots")
    (folder / "link").symlink_to(tmp_path)
    told = cli("ingest", folder, "--store", store).stderr
    assert "1 symbolic link inside folders not followed" in told
    assert "1 document from before origins were recorded: found here, ids kept" in told


def test_a_folder_that_is_away_is_not_pruned(folder: Path, tmp_path: Path) -> None:
    store, away = tmp_path / "store", tmp_path / "away"
    cli("ingest", folder, "--store", store, "--embedder", "hash")
    folder.rename(away)
    folder.mkdir()
    (tmp_path / "other.txt").write_text("Another.")
    result = cli("ingest", folder, tmp_path / "other.txt", "--store", store, "--prune")
    assert result.exit_code == 1
    assert f"Nothing was pruned: {str(folder)!r} gave no file" in result.stderr
    away.rename(tmp_path / "elsewhere")
    moved = (tmp_path / "elsewhere", "--store", store, "--name", "docs")
    assert "add --take-over; if not, give it a name" in error("ingest", *moved, code=2)
    assert "3 unchanged" in cli("ingest", *moved, "--take-over").stdout


def test_a_failed_file_is_named_and_the_rest_goes_in(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.txt").write_bytes(b"\x00\x01\x02" * 100)
    store = tmp_path / "store"
    result = cli("ingest", folder, "--store", store, "--embedder", "hash", "--json")
    assert result.exit_code == 1
    *events, report = records(result.stdout)
    (failed,) = [event for event in events if event["event"] == "failed"]
    assert failed["path"] == str(folder / "broken.txt")
    assert failed["kind"] == "binary"
    assert (report["failed"], report["added"]) == (1, 3)
    assert result.stderr.startswith(f"failed: {folder / 'broken.txt'} ")


def test_backends_and_language_are_the_stores_for_good(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    made = cli(
        "ingest", folder, "--store", store, "--embedder", "hash-32", "--lexical", "rank-bm25",
        "--language", "german",
    )  # fmt: skip
    assert made.exit_code == 0
    with Store.open(store) as opened:
        assert (opened.spec.lexical, opened.spec.language) == ("rank-bm25", "german")
        assert opened.spec.embedder == "hash-32"
    assert cli("ingest", folder, "--store", store, "--lexical", "rank-bm25").exit_code == 0
    line = error("ingest", folder, "--store", store, "--lexical", "tantivy")
    assert "made with lexical 'rank-bm25', not 'tantivy'" in line
    assert "ingest into a new store" in line
    line = error("ingest", folder, "--store", store, "--embedder", "hash-64")
    assert "made with the embedder 'hash-32'" in line


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--lexical", "lucene", "Unknown lexical index 'lucene': use one of tantivy, rank-bm25"),
        ("--dense", "faiss", "Unknown dense index 'faiss': use one of exact, chroma"),
        ("--embedder", "word2vec", "Unknown embedder 'word2vec'"),
        ("--chunk-tokens", "0", "0"),
        ("--overlap", "180", "180"),
        ("--max-file-mb", "0", "file_bytes is 0. Set it above 0"),
        ("--parse-seconds", "-1", "seconds is -1.0. Set it above 0"),
    ],
)
def test_a_wrong_setting_is_refused_and_leaves_no_store(
    folder: Path, tmp_path: Path, option: str, value: str, message: str
) -> None:
    store = tmp_path / "store"
    embedder = () if option == "--embedder" else ("--embedder", "hash")
    line = error("ingest", folder, "--store", store, *embedder, option, value, code=2)
    assert message in line
    assert not store.exists()


def test_a_served_embedder_gets_the_key_of_a_file(folder: Path, tmp_path: Path) -> None:
    store, key, settings = tmp_path / "store", tmp_path / "key", tmp_path / "h.toml"
    key.write_text("sesame\n")
    with embedding_server() as server:
        served = ("--embedder", f"{server.url}#tiny", "--embedder-key-file", key)
        made = cli("ingest", folder, "--store", store, *served)
        assert made.exit_code == 0, made.output
        found = cli("search", "altar", "--store", store, *served)
        assert "Lars Omdrey" in found.stdout
        asked = cli("ask", "Who carved the altar?", "--store", store, *served)
        assert "Lars Omdrey" in asked.stdout
        settings.write_text(
            f'[store]\ndir = "store"\nembedder = "{server.url}#tiny"\nembedder_key_file = "key"'
        )
        assert "Lars Omdrey" in cli("search", "altar", "--settings", settings).stdout
        assert set(server.keys) == {"Bearer sesame"}
        line = error("search", "altar", "--settings", settings, "--embedder", "hash-16")
        assert "was made with the embedder 'tiny'" in line
    assert "sesame" not in made.output + found.output + asked.output


def test_a_key_for_no_server_is_refused(folder: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("")
    for embedder in ((), ("--embedder", "hash")):
        line = error(
            "ingest", folder, "--store", tmp_path / "s", *embedder, "--embedder-key-file", key,
            code=2,
        )  # fmt: skip
        assert "goes with a server: name that with --embedder http://HOST:PORT/v1#MODEL" in line
    served = ("--embedder", "http://127.0.0.1:9/v1#m", "--embedder-key-file", key)
    line = error("ingest", folder, "--store", tmp_path / "s", *served, code=2)
    assert f"The key file '{key}' is empty" in line
    assert not (tmp_path / "s").exists()


def test_nothing_to_read_leaves_no_store(tmp_path: Path) -> None:
    store = tmp_path / "store"
    line = error("ingest", tmp_path / "none", "--store", store, "--embedder", "hash", code=2)
    assert "There is no file or folder" in line
    assert not store.exists()


def test_a_tenants_documents_are_its_own(folder: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    cli("ingest", folder, "--store", store, "--tenant", "anna", "--embedder", "hash")
    assert "No store of tenant 'default'" in error("stats", store)
    (found,) = records(cli("stats", store, "--tenant", "anna", "--json").stdout)
    assert (found["tenant"], found["documents"]) == ("anna", 3)
    assert "is no tenant name" in error("stats", store, "--tenant", "../anna", code=2)


def test_records_keep_their_metadata(tmp_path: Path) -> None:
    lines = [
        {"id": n, "title": f"t{n}", "text": f"word{n} herring", "meta": {"n": n}} for n in (1, 2)
    ]
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    cli("ingest", path, "--store", tmp_path / "s", "--embedder", "hash")
    (found,) = records(
        cli("search", "herring", "--store", tmp_path / "s", "--where", "n=2", "--json").stdout
    )
    assert [hit["document_id"] for hit in found["hits"]] == ["2"]


def test_the_bar_shows_how_far_and_how_fast_on_a_terminal_only() -> None:
    screen = io.StringIO()
    with IngestBar(Console(file=screen, force_terminal=True, width=120)) as bar:
        bar(DocumentCommitted(id="a", passages=10, generation=1, replaced=False))
        bar(Progress(done_bytes=50, total_bytes=200, documents=1, passages=10))
    assert "25%" in screen.getvalue()
    assert "1 document, " in screen.getvalue()
    assert "passages/s" in screen.getvalue()
    quiet = io.StringIO()
    with IngestBar(Console(file=quiet, force_terminal=False)) as bar:
        bar(Progress(done_bytes=50, total_bytes=200, documents=1, passages=10))
    assert quiet.getvalue() == ""
