"""Time by size: no text makes any step of an ingest 20 times slower than prose, byte for byte."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
from support.hostile_texts import PROSE_UNIT, UNITS, repeated

from hoptrail.rag.entities.extraction import extract_entities
from hoptrail.rag.errors import ParseError
from hoptrail.rag.ingest.chunking import chunk, chunk_record
from hoptrail.rag.ingest.packing import passage_spans
from hoptrail.rag.ingest.parsers.html import html_page
from hoptrail.rag.ingest.parsers.jsonl import record
from hoptrail.rag.ingest.parsers.markdown import markdown_page
from hoptrail.rag.text.analyzer import index_terms
from hoptrail.rag.text.sentences import sentences
from hoptrail.rag.text.tokens import count_tokens
from hoptrail.rag.types import Document

SIZE = 20_000
"""Characters: large enough that what grows with the square is far beyond the bound."""

NOTES = "- The *cannery* at [Ostrand](x) was founded\n  in **1902** by `Laurvik`.\n\n## Sold\n\n"
PAGE = "<p>The <i>cannery</i> at <a href=x>Ostrand</a> was founded in <b>1902</b>.</p>\n"
ORDINARY = {"markdown": NOTES, "html": PAGE}
"""Prose as it comes in a format whose every mark is looked at."""

BOUND = 20.0
BOUNDS = {"terms": 100.0}
"""Prose is analysed from a cache of words, which a text of codes or ligatures has no use of: such
texts cost up to 90 times as much, by their length."""


def entities_of_passages(text: str) -> None:
    spans = passage_spans(text, 180, 0, "english")
    extract_entities("A title", [text[start:end] for start, end in spans])


def document(text: str) -> Document:
    return Document(id="d", title="A title", text=text)


STEPS: dict[str, Callable[[str], object]] = {
    "record": lambda text: record(json.dumps({"id": "a", "text": text}).encode(), 2),
    "html": lambda text: html_page(text.encode()),
    "markdown": markdown_page,
    "sentences": sentences,
    "tokens": count_tokens,
    "terms": lambda text: index_terms("english", text),
    "chunk": lambda text: chunk(document(text), overlap=40),
    "chunk of a record": lambda text: chunk_record(document(text), 256),
    "chunk and entities": entities_of_passages,
}


def seconds_a_byte(step: Callable[[str], object], text: str, tries: int, enough: float) -> float:
    """The least processor time of a few tries, stopped when one is quick enough."""
    size, least = len(text.encode()), float("inf")
    for _ in range(tries):
        began = time.process_time()
        with suppress(ParseError):  # a blank text is refused; that takes time too
            step(text)
        least = min(least, (time.process_time() - began) / size)
        if least <= enough:
            break
    return least


@pytest.mark.parametrize("name", STEPS)
def test_no_text_is_twenty_times_slower_than_prose(name: str) -> None:
    step = STEPS[name]
    ordinary, bound = ORDINARY.get(name, PROSE_UNIT), BOUNDS.get(name, BOUND)
    step(repeated(ordinary, 1_000))  # loads what it needs
    prose = seconds_a_byte(step, repeated(ordinary, SIZE), 3, 0.0)
    slow = {}
    for unit in UNITS:
        took = seconds_a_byte(step, repeated(UNITS[unit], SIZE), 3, bound * prose)
        if took > bound * prose:
            slow[unit] = round(took / prose, 1)
    assert not slow


@pytest.mark.parametrize("unit", ["no-break spaces", "one endless word", "Chinese sentences"])
def test_time_grows_with_size(unit: str) -> None:
    """Twelve times the text takes at most 36 times as long, not 144 times."""
    step = STEPS["chunk of a record"]
    step(repeated(PROSE_UNIT, 1_000))
    small = seconds_a_byte(step, repeated(UNITS[unit], 10_000), 3, 0.0)
    assert seconds_a_byte(step, repeated(UNITS[unit], 120_000), 2, 3 * small) <= 3 * small
