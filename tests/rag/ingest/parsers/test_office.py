"""Word, PowerPoint, Excel and EPUB files: their text, and all that can be wrong with them."""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from support.packages import epub, xhtml, zipped

from hoptrail.rag.ingest.discovery import find_files
from hoptrail.rag.ingest.parsers.parser import FileProblem, Parsed, ParseLimits, Parser
from hoptrail.rag.ingest.parsers.worker import answer
from hoptrail.rag.types import Document

docx = pytest.importorskip("docx")
pptx = pytest.importorskip("pptx")
openpyxl = pytest.importorskip("openpyxl")


@pytest.fixture(scope="module")
def parser() -> Iterator[Parser]:
    with Parser() as shared:
        yield shared


def read(parser: Parser, path: Path) -> Document:
    (item,) = parser.read(find_files([path]).files[0])
    assert isinstance(item, Parsed), item
    return item.document


def problem(parser: Parser, path: Path) -> FileProblem:
    (item,) = parser.read(find_files([path]).files[0])
    assert isinstance(item, FileProblem), item
    return item


def word(path: Path, *paragraphs: str, title: str = "") -> Path:
    document = docx.Document()
    document.core_properties.title = title
    for text in paragraphs:
        document.add_paragraph(text)
    document.save(path)
    return path


def rewritten(path: Path, name: str, old: str, new: str) -> Path:
    """The package with a text in one of its files replaced."""
    with zipfile.ZipFile(path) as archive:
        entries = {one: archive.read(one) for one in archive.namelist()}
    assert old.encode() in entries[name]
    entries[name] = entries[name].replace(old.encode(), new.encode())
    return zipped(path, entries)


def test_word_gives_headings_paragraphs_and_tables(parser: Parser, tmp_path: Path) -> None:
    document = docx.Document()
    document.add_heading("The Heron", 1)
    document.add_paragraph("She was launched in 1887.\nHer yard was Maddock & Son <sic>.")
    table = document.add_table(2, 2)
    for cell, text in zip(
        (cell for row in table.rows for cell in row.cells), ("Master", "Years", "Corrin", "9"),
        strict=True,
    ):  # fmt: skip
        cell.text = text
    document.add_paragraph("She was sold.")
    document.save(tmp_path / "heron.docx")
    found = read(parser, tmp_path / "heron.docx")
    assert found.title == "The Heron"
    assert found.text == (
        "The Heron\n\nShe was launched in 1887.\nHer yard was Maddock & Son <sic>.\n\n"
        "Master\tYears\nCorrin\t9\n\nShe was sold."
    )
    assert found.metadata["format"] == "docx"


def test_words_title_is_that_of_its_properties_unless_a_program_filled_it_in(
    parser: Parser, tmp_path: Path
) -> None:
    assert read(parser, word(tmp_path / "a.docx", "Text.", title="Log of 1887")).title == (
        "Log of 1887"
    )
    filled_in = word(tmp_path / "b.docx", "Text.", title="Microsoft Word - b.docx")
    assert read(parser, filled_in).title == "b"


def test_word_keeps_insertions_and_controls_and_drops_deletions(
    parser: Parser, tmp_path: Path
) -> None:
    path = word(tmp_path / "a.docx", "KEPT")
    run = "<w:r><w:t>{}</w:t></w:r>"
    rewritten(
        path,
        "word/document.xml",
        "<w:p><w:r><w:t>KEPT</w:t></w:r></w:p>",
        "<w:sdt><w:sdtContent><w:p>" + run.format("In a control") + "</w:p></w:sdtContent></w:sdt>"
        "<w:p><w:pPr><w:tabs><w:tab w:val='left' w:pos='9'/></w:tabs></w:pPr><w:ins>"
        + run.format("inserted")
        + "</w:ins><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:moveFrom>" + run.format("moved away") + "</w:moveFrom></w:p>",
    )  # fmt: skip
    assert read(parser, path).text == "In a control\n\ninserted"


def test_slides_come_in_order_with_title_table_and_notes(parser: Parser, tmp_path: Path) -> None:
    deck = pptx.Presentation()
    first = deck.slides.add_slide(deck.slide_layouts[1])
    first.shapes.title.text = "The Heron"
    first.placeholders[1].text = "Launched in 1887\nSold in 1901"
    first.notes_slide.notes_text_frame.text = "Mention the yard."
    second = deck.slides.add_slide(deck.slide_layouts[5])
    second.shapes.title.text = "Masters"
    table = second.shapes.add_table(1, 2, 0, 0, 99, 99).table
    table.cell(0, 0).text, table.cell(0, 1).text = "Corrin", "9 years"
    deck.core_properties.title = "PowerPoint Presentation"
    deck.save(tmp_path / "deck.pptx")
    found = read(parser, tmp_path / "deck.pptx")
    assert found.title == "The Heron"
    assert found.text == (
        "The Heron\n\nLaunched in 1887\n\nSold in 1901\n\nMention the yard.\n\n"
        "Masters\n\nCorrin\t9 years"
    )


def test_a_workbook_gives_the_rows_of_each_sheet(parser: Parser, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    ships = book.active
    ships.title = "Ships"
    for row in (["ship", "built", "tons"], ["Heron", datetime(1887, 5, 3), 24.0], [None] * 3):
        ships.append(row)
    ships.append(["Nightjar", None, "=2*11.25"])
    book.create_sheet("Empty")
    book.create_sheet("Notes").append(["Two\nlines", True])
    book.save(tmp_path / "fleet.xlsx")
    found = read(parser, tmp_path / "fleet.xlsx")
    assert found.title == "fleet"
    assert found.text == (
        "Ships\n\nship: Heron; built: 1887-05-03; tons: 24\n\nship: Nightjar\n\n"
        "Notes\n\nTwo lines\tTrue"
    )


def test_a_cell_far_away_makes_a_small_workbook_not_large(parser: Parser, tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.active["A1"] = "near"
    book.active.cell(1_048_576, 16_384, "far")
    book.save(tmp_path / "wide.xlsx")
    assert (tmp_path / "wide.xlsx").stat().st_size < 10_000
    assert read(parser, tmp_path / "wide.xlsx").text == "near\n\nfar"


def test_chapters_come_in_the_order_of_the_spine(parser: Parser, tmp_path: Path) -> None:
    path = epub(
        tmp_path / "book.epub",
        {
            "two.xhtml": xhtml("<h1>Two</h1><p>Second &amp; more.<a id='x'/></p>"),
            "part%20one/one.xhtml": xhtml(
                "<h1>One</h1><p>First.</p><script src='x.js'/><p>End.</p>"
            ),
        },
        title="The  Book",
    )
    with zipfile.ZipFile(path) as archive:
        entries = {
            one.replace("part%20one", "part one"): archive.read(one) for one in archive.namelist()
        }
    found = read(parser, zipped(path, entries))
    assert found.title == "The Book"
    assert found.text == "Two\n\nSecond & more.\n\nOne\n\nFirst.\n\nEnd."


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "epub"])
@pytest.mark.parametrize(
    ("data", "kind", "reason"),
    [
        (b"", "empty", "is empty"),
        (b"just words", "misnamed", "looks like text"),
        (b"PK\x03\x04 and no more", "malformed", "is damaged"),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
            "malformed",
            "is encrypted, or of an old",
        ),
    ],
)
def test_broken_packages(
    parser: Parser, tmp_path: Path, suffix: str, data: bytes, kind: str, reason: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data)
    found = problem(parser, path)
    assert found.kind == kind
    assert reason in found.reason


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "epub"])
def test_other_archives_and_encrypted_ones_are_refused(
    parser: Parser, tmp_path: Path, suffix: str
) -> None:
    other = problem(parser, zipped(tmp_path / f"a.{suffix}", {"readme.txt": "Hello."}))
    assert other.kind == "malformed"
    assert "damaged" in other.reason
    locked = zipped(tmp_path / f"b.{suffix}", {"readme.txt": "Hello."})
    data = bytearray(locked.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    locked.write_bytes(bytes(data))
    assert problem(parser, locked).reason == "is encrypted: save it without a password"


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "epub"])
def test_zip_bombs_are_refused_before_they_are_unpacked(tmp_path: Path, suffix: str) -> None:
    bomb = zipped(tmp_path / f"a.{suffix}", {"word/document.xml": b" " * 30_000_000})
    assert bomb.stat().st_size < 100_000
    with Parser() as parser:
        found = problem(parser, bomb)
        assert found.kind == "bomb"
        assert found.reason == (
            "unpacks to more than 200 times its size, as decompression bombs do"
        )
    with Parser(ParseLimits(gz_bytes=1000)) as parser:
        assert "unpacks to more than 1,000 bytes" in problem(parser, bomb).reason


def test_an_archive_that_lies_about_its_size_gives_no_more_than_it_says(
    parser: Parser, tmp_path: Path
) -> None:
    path = epub(tmp_path / "a.epub", {"one.xhtml": xhtml("<p>" + "x" * 1_000_000 + "</p>")})
    data = path.read_bytes()
    true = (1_000_000 + len(xhtml("<p></p>"))).to_bytes(4, "little")
    assert data.count(true) == 2
    path.write_bytes(data.replace(true, (100).to_bytes(4, "little")))
    assert problem(parser, path).kind == "malformed"


def test_too_much_text_is_refused(tmp_path: Path) -> None:
    with Parser(ParseLimits(text_chars=500)) as parser:
        book = epub(tmp_path / "a.epub", {"one.xhtml": xhtml("<p>" + "word " * 200 + "</p>")})
        for path in (book, word(tmp_path / "a.docx", "word " * 200)):
            assert problem(parser, path).reason == "gives more than 500 characters of text"


def test_a_package_without_text_is_empty(parser: Parser, tmp_path: Path) -> None:
    for path in (word(tmp_path / "a.docx"), epub(tmp_path / "a.epub", {"one.xhtml": xhtml("")})):
        assert problem(parser, path).kind == "empty"


def test_entities_of_a_package_are_not_expanded(parser: Parser, tmp_path: Path) -> None:
    path = word(tmp_path / "a.docx", "KEPT")
    secret = tmp_path / "secret.txt"
    secret.write_text("TOP SECRET")
    with zipfile.ZipFile(path) as archive:
        xml = archive.read("word/document.xml").decode()
    declaration = re.search(r"<\?xml[^>]*\?>", xml)
    assert declaration is not None
    rewritten(
        path, "word/document.xml", declaration[0],
        declaration[0] + f'<!DOCTYPE d [<!ENTITY e SYSTEM "{secret.as_uri()}">]>',
    )  # fmt: skip
    rewritten(path, "word/document.xml", "KEPT", "KEPT &e;")
    assert "SECRET" not in read(parser, path).text
    book = epub(tmp_path / "a.epub", {"one.xhtml": xhtml("<p>x</p>")}, title="&e;")
    rewritten(book, "OEBPS/book.opf", "<package", '<!DOCTYPE p [<!ENTITY e "boo">]><package')
    assert "declares entities" in problem(parser, book).reason


def test_books_under_drm_are_refused_and_obfuscated_fonts_are_not(
    parser: Parser, tmp_path: Path
) -> None:
    def book(name: str, algorithm: str) -> Path:
        encryption = (
            '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>'
            f'<e:EncryptionMethod Algorithm="{algorithm}"/></e:EncryptedData></encryption>'
        )
        chapters = {"one.xhtml": xhtml("<p>Text.</p>")}
        return epub(tmp_path / name, chapters, **{"META-INF__encryption.xml": encryption})

    locked = book("a.epub", "http://www.w3.org/2001/04/xmlenc#aes128-cbc")
    assert problem(parser, locked).reason == "is encrypted (DRM): it cannot be read"
    assert read(parser, book("b.epub", "http://www.idpf.org/2008/embedding")).text == "Text."


@pytest.mark.parametrize(
    ("suffix", "library"), [("docx", "docx"), ("pptx", "pptx"), ("xlsx", "openpyxl")]
)
def test_a_missing_library_is_said_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, library: str
) -> None:
    path = zipped(tmp_path / f"a.{suffix}", {"x": "y"})
    monkeypatch.setitem(sys.modules, library, None)
    told = answer(
        {
            "path": str(path), "format": suffix, "file_bytes": 10**6,
            "limits": {"text_chars": 100, "zip_bytes": 100, "zip_ratio": 200},
        }
    )  # fmt: skip
    assert told["kind"] == "unreadable"
    assert told["reason"] == (
        f"cannot be read: the library '{library}' is not installed. pip install 'hoptrail[office]'"
    )
