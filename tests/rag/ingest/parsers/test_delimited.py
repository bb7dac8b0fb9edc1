"""CSV and TSV: delimiters, headers, ragged rows, quotes, and cost."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoptrail.rag.ingest.discovery import find_files
from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers.delimited import delimited_page
from hoptrail.rag.ingest.parsers.parser import FileProblem, Parsed, ParseLimits, Parser


def text(source: str, most: int = 100_000) -> str:
    return delimited_page(source, most).text


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_row_has_the_names_of_its_columns(delimiter: str, end: str) -> None:
    rows = [["ship", "built", "master"], ["Heron", "1887", "Corrin"], ["Nightjar", "1894", "Pell"]]
    source = end.join(delimiter.join(row) for row in rows)
    assert text(source) == (
        "ship: Heron; built: 1887; master: Corrin\n\nship: Nightjar; built: 1894; master: Pell"
    )


def test_quotes_hold_delimiters_quotes_and_line_ends() -> None:
    source = 'name,note\n"Pell, Hestor","said ""no""\nand left"\n'
    assert text(source) == 'name: Pell, Hestor; note: said "no" and left'


def test_ragged_rows_lose_nothing() -> None:
    source = "a,b,c\n1\n1,2,3,4\n,,\n\n,5,\n"
    assert text(source) == "a: 1\n\na: 1; b: 2; c: 3; 4\n\nb: 5"


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("Heron,1887\nNightjar,1894\n", "Heron\t1887\n\nNightjar\t1894"),
        ("a,a\n1,2\n", "a\ta\n\n1\t2"),
        ("a,\n1,2\n", "a\n\n1\t2"),
        ("one column\nof words\n", "one column\n\nof words"),
        ("name,year\n", "name\tyear"),
    ],
    ids=["numbers", "equal names", "empty name", "one column", "names alone"],
)
def test_a_first_row_that_is_no_header(source: str, wanted: str) -> None:
    assert text(source) == wanted


def test_the_delimiter_is_that_of_most_rows() -> None:
    source = "name;price\nlamp;1,50\nrope;2,75\nsail, canvas;3,00\n"
    assert text(source).startswith("name: lamp; price: 1,50\n\n")
    assert text("sep=|\na,b|c\n1,2|3\n") == "a,b: 1,2; c: 3"


def test_a_name_is_cut_since_each_row_repeats_it() -> None:
    found = text("x" * 5_000 + ",b\n" + "1,2\n" * 100)
    assert len(found) < 100 * 130


def test_too_much_text_and_damage_are_refused() -> None:
    with pytest.raises(UnreadableFile, match="more than 50 characters"):
        text("name,value\n" + "a,b\n" * 20, 50)
    assert text('a,b\n"never closed,1\n2,3\n') == "a: never closed,1 2,3"


def test_files_through_the_parser(tmp_path: Path) -> None:
    (tmp_path / "bom.csv").write_bytes("größe;ort\n3;Köln\n".encode("utf-8-sig"))
    (tmp_path / "wide.csv").write_bytes("a\tb\n1\t2\n".encode("utf-16"))
    (tmp_path / "t.tsv").write_bytes(b"a\tb\n1\t2\n")
    (tmp_path / "old.csv").write_bytes("größe;ort\n".encode("latin-1"))
    (tmp_path / "blank.csv").write_bytes(b",,\n,,\n")
    (tmp_path / "zip.csv").write_bytes(b"PK\x03\x04...")
    found: dict[str, Parsed | FileProblem] = {}
    with Parser(ParseLimits(file_bytes=10_000)) as parser:
        for source in find_files([tmp_path]).files:
            (found[source.path.name],) = parser.read(source)
    texts = {k: v.document.text for k, v in found.items() if isinstance(v, Parsed)}
    assert texts == {
        "bom.csv": "größe: 3; ort: Köln",
        "wide.csv": "a: 1; b: 2",
        "t.tsv": "a: 1; b: 2",
    }
    kinds = {k: v.kind for k, v in found.items() if isinstance(v, FileProblem)}
    assert kinds == {"old.csv": "encoding", "blank.csv": "empty", "zip.csv": "misnamed"}


@given(st.text(st.sampled_from('a1,;"\n\r\t| =')))
def test_any_table_gives_text_or_a_reason(source: str) -> None:
    with suppress(UnreadableFile):
        assert "\r" not in text(source)
