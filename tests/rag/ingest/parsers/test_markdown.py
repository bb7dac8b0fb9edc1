"""Markdown read by CommonMark: front matter, titles, fences, and text without markup."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoptrail.rag.ingest.discovery import find_files
from hoptrail.rag.ingest.parsers.markdown import markdown_page
from hoptrail.rag.ingest.parsers.parser import Parsed, Parser


@pytest.mark.parametrize(
    ("source", "title", "text"),
    [
        (
            '---\ntitle: "Ferry: times"\n# internal\nauthor: A\n---\n\nAt 6.',
            "Ferry: times",
            "At 6.",
        ),
        ("---\r\ntitle: >-\r\n  Two\r\n  lines\r\n...\r\n# One\n\nx", "Two lines", "One\n\nx"),
        ('+++\ntitle = "Hull"\n+++\nx', "Hull", "x"),
        ("---\ndate: 2024-03-01\n---\nBoat yard\n===\n\nx", "Boat yard", "Boat yard\n\nx"),
        ("---\n\nno front matter\n\n---\n\n# One", "One", "no front matter\n\nOne"),
        ("Boat yard\n---------\n\nx", "Boat yard", "Boat yard\n\nx"),
        ("````md\n```\n# no title\n```\n````\n# Real", "Real", "```\n# no title\n```\n\nReal"),
        ("~~~\n# no\n~~~\n\n    # nor this\n\n## The *Heron* ##", "The Heron", None),
        ("# A [link](http://h.invalid) `x`", "A link x", "A link x"),
        ("#hashtag\n\n\\# no heading", "", "#hashtag\n\n# no heading"),
    ],
)
def test_titles(source: str, title: str, text: str | None) -> None:
    page = markdown_page(source)
    assert page.title == title
    if text is not None:
        assert page.text == text


def test_markup_is_no_part_of_the_text() -> None:
    source = (
        "The **old** _yard_ at [Halden](http://h.invalid/x) &amp; ![a red crane](c.png)\n"
        "is ~~shut~~ open.  \nNext.\n\n> quoted\n\n- one\n- two\n\n"
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n"
        "```py\ndef f():\n    return a_b_c\n```\n\n"
        "<p hidden>gone</p><!-- gone -->\n\n[r]: http://h.invalid"
    )
    assert markdown_page(source).text == (
        "The old yard at Halden & a red crane is shut open.\nNext.\n\nquoted\n\none\ntwo\n\n"
        "a\tb\n1\t2\n\ndef f():\n    return a_b_c"
    )


def test_a_file_without_a_heading_has_its_name_as_title(tmp_path: Path) -> None:
    (tmp_path / "plain.md").write_text("*no* heading")
    with Parser() as parser:
        (item,) = parser.read(find_files([tmp_path]).files[0])
    assert isinstance(item, Parsed)
    assert (item.document.title, item.document.text) == ("plain", "no heading")
    assert item.document.metadata == {"source": f"{tmp_path.name}/plain.md", "format": "markdown"}


def test_deeply_nested_lists_are_read() -> None:
    source = "\n".join("  " * depth + f"- level{depth}" for depth in range(30))
    assert markdown_page(source).text.split() == [f"level{depth}" for depth in range(30)]
