"""PDF: broken words, columns, tables, turned pages, encryption, titles that programs filled in."""

# ruff: noqa: ANN401 - reportlab has no types

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from hoptrail.rag.ingest.files import UnreadableFile
from hoptrail.rag.ingest.parsers import worker
from hoptrail.rag.ingest.parsers.base import Page
from hoptrail.rag.ingest.parsers.pdf import pdf_page

LEFT = [
    "The cannery at Ostrand",
    "was founded in 1902 by",
    "Mette Laurvik, who sold",
    "it in 1940.",
]
RIGHT = ["The tannery at Veskel", "was founded in 1877 by", "Pavel Drobny, who left", "it in 1911."]
TABLE = [("Route", "Fare", "Boat"), ("Halden return", "40", "Gannet"), ("Holm", "12", "Tern")]


def make_pdf(draw: Callable[[Any], None], title: str = "") -> bytes:
    canvas = pytest.importorskip("reportlab.pdfgen.canvas")
    out = BytesIO()
    pdf = canvas.Canvas(out)
    if title:
        pdf.setTitle(title)
    draw(pdf)
    pdf.save()
    return out.getvalue()


def read(draw: Callable[[Any], None], title: str = "") -> Page:
    return pdf_page(make_pdf(draw, title), 10**6)


def column(pdf: Any, lines: Sequence[str], x: float = 60, y: float = 780) -> None:
    for row, line in enumerate(lines):
        pdf.drawString(x, y - 14 * row, line)


def rows(pdf: Any, *columns: Sequence[str], width: float = 260) -> None:
    for row in range(max(map(len, columns))):
        for at, lines in enumerate(columns):
            if row < len(lines):
                pdf.drawString(60 + width * at, 780 - 14 * row, lines[row])


def test_broken_words_are_joined_and_real_hyphens_kept() -> None:
    lines = [
        "The board paid for a new desali-",
        "nation plant. It was de-",
        "signed by Orla Venn. The well-",
        "known lighthouse was red, pre-",
        "and post-war. The Anglo-",
        "Saxon wall of 1990-",
        "1995 is here.",
    ]
    assert " ".join(read(lambda pdf: column(pdf, lines)).text.split()) == (
        "The board paid for a new desalination plant. It was designed by Orla Venn. The well-known "
        "lighthouse was red, pre- and post-war. The Anglo-Saxon wall of 1990-1995 is here."
    )


def test_the_files_own_words_decide_about_a_hyphen() -> None:
    lines = ["The boathook and the long-boat", "lay there. A boat-", "hook and a long-", "boat."]
    text = read(lambda pdf: column(pdf, lines)).text
    assert text.endswith("A boathook and a long-boat.")


@pytest.mark.parametrize("by_row", [True, False])
def test_columns_are_read_one_after_the_other(by_row: bool) -> None:
    def draw(pdf: Any) -> None:
        pdf.drawString(60, 810, "Industries of the coast and of the islands in the year 1999")
        if by_row:
            rows(pdf, LEFT, RIGHT)
        else:
            column(pdf, LEFT)
            column(pdf, RIGHT, x=320)

    heading = "Industries of the coast and of the islands in the year 1999"
    assert read(draw).text.split("\n") == [heading, *LEFT, *RIGHT]


def test_three_columns_and_an_uneven_end() -> None:
    third = ["A third yard stood at", "Corless, and its owner", "kept the books herself"]
    longer = [*LEFT, "She died in the spring."]
    text = read(lambda pdf: rows(pdf, longer, RIGHT, third, width=170)).text
    assert text.split("\n") == [*longer, *RIGHT, *third]


def test_rows_of_a_table_stay_together() -> None:
    text = read(lambda pdf: rows(pdf, *zip(*TABLE, strict=True), width=150)).text
    assert text.split("\n") == [" ".join(row) for row in TABLE]


def test_turned_pages_and_raised_characters() -> None:
    def draw(pdf: Any) -> None:
        pdf.setPageRotation(90)
        column(pdf, ["The second sheet lists the", "bronze gate of Halden."])
        pdf.drawString(60, 700, "x")
        pdf.setFont("Helvetica", 7)
        pdf.drawString(66, 704, "2")

    assert read(draw).text == "The second sheet lists the\nbronze gate of Halden.\nx2"


@pytest.mark.parametrize("name", ["aes-128-no-password.pdf", "aes-256-no-password.pdf"])
def test_files_encrypted_without_a_password_are_read(name: str) -> None:
    assert pdf_page((Path(__file__).parent / name).read_bytes(), 10**6).text.split("\n") == LEFT


@pytest.mark.parametrize("password", ["", "secret"])
def test_a_password_is_needed_only_where_one_was_set(password: str) -> None:
    from pypdf import PdfReader, PdfWriter

    plain, out = make_pdf(lambda pdf: column(pdf, LEFT)), BytesIO()
    writer = PdfWriter(clone_from=PdfReader(BytesIO(plain)))
    writer.encrypt(password, "owner", algorithm="RC4-128")
    writer.write(out)
    if not password:
        assert pdf_page(out.getvalue(), 10**6).text.split("\n") == LEFT
        return
    with pytest.raises(UnreadableFile, match="is encrypted: save it without a password"):
        pdf_page(out.getvalue(), 10**6)


def test_a_missing_library_is_not_the_files_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(make_pdf(lambda pdf: column(pdf, LEFT)))
    kept = builtins.__import__

    def lacking(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pypdfium2"):
            raise ModuleNotFoundError("No module named 'pypdfium2'", name="pypdfium2")
        return kept(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("pypdfium2")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", lacking)
    limits = {"text_chars": 10**6, "zip_bytes": 10**6, "zip_ratio": 200}
    request = {"path": str(path), "format": "pdf", "file_bytes": 10**6, "limits": limits}
    assert worker.answer(request) == {
        "reason": "cannot be read: the library 'pypdfium2' is not installed. Reinstall hoptrail",
        "kind": "unreadable",
    }


@pytest.mark.parametrize(
    "title",
    [
        *("untitled", "(anonymous)", "Untitled Document", "Microsoft Word - a.doc", "unknown"),
        *("report_v2.docx", "Document1", "PowerPoint Presentation", " - ", "thesis.dvi"),
    ],
)
def test_a_title_that_a_program_filled_in_is_none(title: str) -> None:
    assert read(lambda pdf: column(pdf, LEFT), title).title == ""


@pytest.mark.parametrize("title", ["The  Heron", "Documents of the board", "1984"])
def test_a_title_of_the_metadata_is_kept(title: str) -> None:
    assert read(lambda pdf: column(pdf, LEFT), title).title == " ".join(title.split())
