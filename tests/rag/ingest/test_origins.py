"""Where documents come from: ids over several roots, prune, overwriting, stores of before."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.store import sql

from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.fsck import fsck
from hoptrail.rag.ingest.files import SourceFile
from hoptrail.rag.ingest.parsers.parser import FileProblem, Parsed, Parser
from hoptrail.rag.ingest.pipeline import IngestReport, IngestSettings, ingest
from hoptrail.rag.ingest.roots import plan_roots
from hoptrail.rag.store.store import Store
from hoptrail.rag.types import Document, Origin

PRUNE = IngestSettings(prune=True)
TAKE_OVER = IngestSettings(take_over=True)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def records(path: Path, texts: Mapping[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"id": one, "text": text}) for one, text in texts.items()]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(store: Store, *paths: Path, settings: IngestSettings | None = None) -> IngestReport:
    return ingest(paths, store, HashEmbedder(64), settings or IngestSettings())


def texts(store: Store) -> dict[str, str]:
    found = {one: store.document(one) for one in store.documents()}
    return {one: document.text for one, document in found.items() if document is not None}


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return write(tmp_path / "notes", {"report.txt": "Notes report.", "old.txt": "Old."})


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    return write(tmp_path / "papers", {"report.txt": "Papers report.", "tides.txt": "Tides."})


def test_files_of_one_name_in_two_folders_are_two_documents(
    store: Store, notes: Path, papers: Path
) -> None:
    run(store, notes)
    assert run(store, papers).replaced == 0
    assert texts(store) == {
        "notes/old.txt": "Old.",
        "notes/report.txt": "Notes report.",
        "papers/report.txt": "Papers report.",
        "papers/tides.txt": "Tides.",
    }
    assert store.origins.roots() == {str(notes): "notes", str(papers): "papers"}
    assert store.origins.all()["notes/old.txt"] == Origin(root=str(notes), path="old.txt")


def test_prune_deletes_below_the_given_paths_only(store: Store, notes: Path, papers: Path) -> None:
    write(notes, {"2023/a.txt": "A.", "2024/b.txt": "B.", "2024/c.txt": "C."})
    lone = write(papers.parent, {"lone.txt": "Alone."}) / "lone.txt"
    run(store, notes, papers, lone)
    for gone in (notes / "old.txt", notes / "2023" / "a.txt", notes / "2024" / "b.txt"):
        gone.unlink()
    (papers / "tides.txt").unlink()
    assert run(store, notes / "2024", settings=PRUNE).deleted == 1
    assert "notes/2024/b.txt" not in texts(store)
    assert run(store, notes, settings=PRUNE).deleted == 2
    assert sorted(texts(store)) == [
        "lone.txt", "notes/2024/c.txt", "notes/report.txt", "papers/report.txt", "papers/tides.txt",
    ]  # fmt: skip


@pytest.mark.parametrize("given", [("notes", "papers"), (".",)])
def test_a_folder_that_gave_no_file_is_not_pruned(
    store: Store, notes: Path, papers: Path, given: tuple[str, ...]
) -> None:
    """A disk that is away leaves an empty folder, in a path that is given or below it."""
    run(store, notes, papers)
    for path in papers.iterdir():
        path.unlink()
    (notes / "old.txt").unlink()
    report = run(store, *(notes.parent / one for one in given), settings=PRUNE)
    assert report.deleted == 0
    assert report.prune_refused is not None
    assert f"{str(papers)!r} gave no file" in report.prune_refused
    assert len(texts(store)) == 4


def test_a_root_that_was_deleted_within_a_given_folder_is_pruned(
    store: Store, notes: Path, papers: Path
) -> None:
    run(store, notes, papers)
    shutil.rmtree(papers)
    assert run(store, notes.parent, settings=PRUNE).deleted == 2


def test_a_folder_is_one_root_however_it_is_named(
    store: Store, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(store, notes)
    before = texts(store)
    (notes.parent / "link").symlink_to(notes)
    monkeypatch.chdir(notes)
    named = (".", "../notes/", str(notes), "../link", "report.txt", "../link/old.txt", "..")
    for one in named:
        assert run(store, Path(one)).added == 0, one
    assert texts(store) == before


def test_what_is_known_keeps_its_ids_in_a_wider_or_narrower_root(
    store: Store, notes: Path, papers: Path
) -> None:
    run(store, notes / "old.txt")
    run(store, papers)
    run(store, notes)
    run(store, notes.parent)
    run(store, papers / "tides.txt")
    assert sorted(texts(store)) == [
        "notes/report.txt", "old.txt", "papers/report.txt", "papers/tides.txt",
    ]  # fmt: skip


def test_two_folders_of_one_name(store: Store, notes: Path, tmp_path: Path) -> None:
    run(store, notes)
    other = write(tmp_path / "b" / "notes", {"report.txt": "Another."})
    with pytest.raises(SettingsError, match=r"documents of another 'notes'.*--take-over.*--name"):
        run(store, other)
    run(store, other, settings=IngestSettings(name="b-notes"))
    assert texts(store)["b-notes/report.txt"] == "Another."
    assert texts(store)["notes/report.txt"] == "Notes report."
    assert run(store, other).unchanged == 1
    with pytest.raises(SettingsError, match="which the store has as 'b-notes'"):
        run(store, other, settings=IngestSettings(name="c-notes"))


def test_a_folder_that_was_moved_is_taken_over(store: Store, notes: Path, tmp_path: Path) -> None:
    run(store, notes)
    moved = tmp_path / "elsewhere" / "notes"
    moved.parent.mkdir()
    notes.rename(moved)
    (moved / "old.txt").unlink()
    report = run(store, moved, settings=IngestSettings(take_over=True, prune=True))
    assert (report.unchanged, report.deleted) == (1, 1)
    assert store.origins.all() == {"notes/report.txt": Origin(root=str(moved), path="report.txt")}


def test_records_of_another_root_are_not_overwritten(store: Store, tmp_path: Path) -> None:
    run(store, records(tmp_path / "a.jsonl", {"1": "First.", "2": "Same.", "3": "Third."}))
    other = records(tmp_path / "b.jsonl", {"1": "Other.", "2": "Same.", "4": "Fourth."})
    report = run(store, other)
    assert (report.added, report.replaced, report.unchanged, report.failed) == (1, 0, 1, 1)
    (failed,) = report.failures
    assert failed.kind == "taken"
    assert f"the store has from {str(tmp_path / 'a.jsonl')!r}" in failed.reason
    assert "--take-over" in failed.reason
    assert texts(store)["1"] == "First."
    assert run(store, other, settings=TAKE_OVER).replaced == 1
    assert texts(store) == {"1": "Other.", "2": "Same.", "3": "Third.", "4": "Fourth."}


def test_two_files_of_records_may_have_one_name(store: Store, tmp_path: Path) -> None:
    run(store, records(tmp_path / "a" / "corpus.jsonl", {"1": "First.", "2": "Same."}))
    other = records(tmp_path / "b" / "corpus.jsonl", {"2": "Same.", "3": "Third."})
    report = run(store, other, settings=PRUNE)
    assert (report.added, report.unchanged, report.failed, report.deleted) == (1, 1, 0, 0)
    assert sorted(texts(store)) == ["1", "2", "3"]


def test_a_record_may_move_between_the_files_of_a_root(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "feed"
    records(folder / "day1.jsonl", {"1": "First.", "2": "Second."})
    run(store, folder)
    (folder / "day1.jsonl").rename(folder / "day2.jsonl")
    assert run(store, folder, settings=PRUNE).unchanged == 2
    assert store.origins.all()["2"].path == "day2.jsonl"
    records(folder / "day3.jsonl", {"2": "Second, changed."})
    assert run(store, folder / "day3.jsonl").replaced == 1


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", "a\nb"])
def test_a_name_that_can_be_none(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="cannot be the name of"):
        plan_roots([tmp_path], {}, name=name)


def test_a_path_whose_bytes_are_not_utf8(store: Store, tmp_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")) / "notes"
    write(strange, {"a.txt": "A."})
    run(store, strange)
    assert run(store, strange, settings=PRUNE).unchanged == 1
    assert list(texts(store)) == ["notes/a.txt"]


# Stores of before


def forget(store: Store) -> None:
    """Makes the store one of before origins were recorded."""
    sql(store.root, "INSERT INTO origins VALUES (-1, 0, '')", "DELETE FROM origins")
    sql(store.root, "DELETE FROM roots")


@pytest.fixture
def former(store: Store, notes: Path, papers: Path) -> Store:
    """A store as it was: ids without the folder, and papers/report.txt over that of notes."""
    for path in (notes / "old.txt", papers / "report.txt", papers / "tides.txt"):
        run(store, path)
    forget(store)
    return store


def test_documents_of_before_are_adopted_and_none_is_lost_or_doubled(
    former: Store, notes: Path, papers: Path
) -> None:
    report = run(former, notes, settings=PRUNE)
    assert (report.adopted, report.unchanged, report.added, report.deleted) == (1, 1, 1, 0)
    assert report.left_behind == ("report.txt",)
    report = run(former, papers, settings=PRUNE)
    assert (report.adopted, report.unchanged, report.added, report.deleted) == (2, 2, 0, 0)
    assert report.left_behind == ()
    assert texts(former) == {
        "notes/report.txt": "Notes report.",
        "old.txt": "Old.",
        "report.txt": "Papers report.",
        "tides.txt": "Tides.",
    }
    again = run(former, notes, papers)
    assert (again.adopted, again.unchanged, again.added) == (0, 4, 0)
    assert fsck(former.root).clean


def test_a_former_document_that_was_adopted_is_replaced_and_pruned_under_its_id(
    former: Store, notes: Path, papers: Path
) -> None:
    run(former, notes, papers)
    write(papers, {"tides.txt": "The tides, written anew."})
    (papers / "report.txt").unlink()
    report = run(former, papers, settings=PRUNE)
    assert (report.replaced, report.deleted, report.added) == (1, 1, 0)
    assert texts(former)["tides.txt"] == "The tides, written anew."
    assert "report.txt" not in texts(former)


def test_former_documents_are_found_from_any_folder_above_or_below(
    former: Store, tmp_path: Path
) -> None:
    assert run(former, tmp_path / "papers" / "tides.txt").adopted == 1
    report = run(former, tmp_path)
    assert (report.adopted, report.added) == (2, 1)
    assert len(texts(former)) == 4


def test_a_page_that_a_newer_parser_reads_a_little_differently_is_adopted(
    store: Store, tmp_path: Path
) -> None:
    words = " ".join(f"word{n}" for n in range(40))
    page = write(tmp_path / "web", {"page.html": f"<p>{words} menu</p>"}) / "page.html"
    run(store, page)
    forget(store)
    write(tmp_path / "web", {"page.html": f"<p>{words}</p>"})
    report = run(store, tmp_path / "web")
    assert (report.adopted, report.replaced, report.added) == (1, 1, 0)
    assert texts(store) == {"page.html": words}


def test_a_former_record_is_overwritten_by_its_own_text_only(store: Store, tmp_path: Path) -> None:
    path = records(tmp_path / "a.jsonl", {"1": "First.", "2": "Second."})
    run(store, path)
    forget(store)
    report = run(store, records(path, {"1": "First.", "2": "Another."}))
    assert (report.adopted, report.failed) == (1, 1)
    assert "does not say from where it is" in report.failures[0].reason
    assert run(store, path, settings=TAKE_OVER).replaced == 1
    assert texts(store) == {"1": "First.", "2": "Another."}


def test_a_store_of_before_has_no_table_of_origins(store: Store) -> None:
    assert (store.origins.roots(), store.origins.all()) == ({}, {})


@pytest.mark.parametrize(
    "document",
    [
        Document(id="x", title="x", text="half \ud800"),
        Document(id="x", title="\udc00", text="x"),
        Document(id="x", title="x", text="x", metadata={"key": "\ud800"}),
        Document(id="x", title="x", text="x", metadata={"\ud800": 1}),
        Document(id="x", title="x", text="x", metadata={"key": float("nan")}),
        Document(id="x", title="x", text="x", metadata={"key": None}),  # type: ignore[dict-item]
        Document(id="", title="x", text="x"),
    ],
)
def test_what_a_store_refuses_is_that_files_problem(
    store: Store, notes: Path, monkeypatch: pytest.MonkeyPatch, document: Document
) -> None:
    """Whatever a parser lets through: the files before and after it are stored."""
    write(notes, {"p.txt": "Refused."})
    read = Parser.read

    def strange(self: Parser, source: SourceFile) -> Iterator[Parsed | FileProblem]:
        if source.path.name == "p.txt":
            yield Parsed(document=document, is_record=False, read_bytes=1)
        else:
            yield from read(self, source)

    monkeypatch.setattr(Parser, "read", strange)
    report = run(store, notes)
    assert (report.added, report.failed) == (2, 1)
    assert report.failures[0].kind == "malformed"
    assert fsck(store.root).clean
