"""What a record means, and what is said of the rest of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.jsonl import record
from hoptrail.rag.ingest.pipeline import IngestReport, ingest
from hoptrail.rag.store.store import Store, StoreSpec


def ingested(folder: Path, *lines: dict[str, Any] | str) -> IngestReport:
    """The report of an ingest of these lines, and the store at `folder / "store"`."""
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
    (folder / "docs.jsonl").write_text(text)
    embedder = HashEmbedder()
    spec = StoreSpec(embedder=embedder.id, dimension=embedder.dimension)
    with Store.create(folder / "store", spec) as store:
        return ingest([folder / "docs.jsonl"], store, embedder)


def test_null_is_absence(tmp_path: Path) -> None:
    line = {"id": "a", "text": "Holm.", "title": None, "meta": {"year": 1884, "author": None}}
    found = record(json.dumps(line).encode(), 1)
    assert found is not None
    assert found.metadata == {"year": 1884}
    assert found.title == ""


def test_a_key_that_is_not_read_is_named_once_with_the_nearest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = {"text": "Holm holds grain.", "metadata": {"year": 1884}, "txet": "", "colour": "red"}
    report = ingested(tmp_path, {"id": "a", **odd}, {"id": "b", **odd}, {"id": "c", "text": "x y"})
    assert report.added == 3
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    place = f"{tmp_path / 'docs.jsonl'}, line 1: the key"
    assert said == [
        f"{place} 'metadata' is not read: did you mean 'meta'?",
        f"{place} 'txet' is not read: did you mean 'text'?",
        f"{place} 'colour' is not read: what is to be filtered by goes in \"meta\".",
    ]


def test_the_keys_that_are_named_have_a_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ingested(tmp_path, *({"id": n, "text": "x y", f"k{n}": 1} for n in range(50)))
    said = [one.getMessage() for one in caplog.records if "is not read" in one.getMessage()]
    assert len(said) == 20
    assert said[-1].endswith("(Further keys are not named.)")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"_id": "m", "text": "x"}, """not None (the record has '_id': call it "id")"""),
        ({"id": "m", "contents": "x"}, """(the record has 'contents': call it "text")"""),
        ({"id": "m", "text": "x", "meta": {"tags": ["a"]}}, "'tags' is not a string"),
        ({"id": "m", "text": "x", "meta": [1]}, 'a "meta" that is not an object but [1]'),
    ],
)  # fmt: skip
def test_a_record_that_is_none_says_what_it_has_instead(line: object, reason: str) -> None:
    with pytest.raises(UnreadableFile) as refused:
        record(json.dumps(line).encode(), 1)
    assert reason in refused.value.reason


@pytest.mark.parametrize("depth", [500, 950, 3_000, 100_000])
@pytest.mark.parametrize("key", ["id", "text", "title", "meta", "other"])
def test_a_line_that_nests_deeply_is_refused_or_read(tmp_path: Path, depth: int, key: str) -> None:
    deep = "[" * depth + "]" * depth
    fields = {"id": '"a"', "text": '"Holm."', key: deep}
    line = "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"
    report = ingested(tmp_path, line, {"id": "b", "text": "Odda."})
    assert report.added == 2 - report.failed
    assert report.failed == (0 if key == "other" and depth < 950 else report.failed)


def test_an_id_used_twice_is_told_with_both_lines(tmp_path: Path) -> None:
    report = ingested(tmp_path, {"id": "a", "text": "x y"}, "", {"id": "a", "text": "z"})
    (failed,) = report.failures
    assert failed.line == 3
    assert failed.reason == f"has the id 'a', which {tmp_path / 'docs.jsonl'}, line 1 used already"


META = (
    {"year": "1884", "public": True, "rev": "1.10", "part": "12E4"},
    {"year": 1884, "public": "true", "part": "007"},
    {"year": 1885, "county": "Vestland"},
)


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ({"year": 1884}, ""),
        ({}, ""),
        ({"yaer": 1884}, "no document has the key 'yaer': did you mean 'year'?"),
        ({"xx": 1}, "no document has the key 'xx': there are year, part, public, county, rev"),
        ({"year": "1885"}, 'no document has year="1885", but there is year=1885'),
        ({"county": "Vestlnd"}, 'has county="Vestlnd", but there is county="Vestland"'),
        ({"county": "vestland"}, 'has county="vestland", but there is county="Vestland"'),
        ({"part": 120000}, 'has part=120000, but there is part="007", part="12E4"'),
        ({"public": False}, 'has public=false, but there is public=true, public="true"'),
        ({"year": 1885, "part": "007"}, "met by some document, but none meets all of them"),
    ],
)  # fmt: skip
def test_a_filter_that_keeps_nothing_says_what_there_is(
    tmp_path: Path, where: dict[str, Any], reason: str
) -> None:
    ingested(tmp_path, *({"id": n, "text": "x y", "meta": one} for n, one in enumerate(META)))
    with Store.open(tmp_path / "store") as store:
        said = store.snapshot().unmatched(where)
    assert said.endswith(reason)
    assert bool(said) == bool(reason)


def test_a_filter_of_a_store_without_metadata(tmp_path: Path) -> None:
    ingested(tmp_path, {"id": "a", "text": "x y"})
    with Store.open(tmp_path / "store") as store:
        said = store.snapshot().unmatched({"year": 1})
        assert said == "no document has the key 'year', or any metadata"
        with pytest.raises(SettingsError):
            store.snapshot().unmatched({"year": None})  # type: ignore[dict-item]
