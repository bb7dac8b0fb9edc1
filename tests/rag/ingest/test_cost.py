"""Time by size: no text makes any step of an ingest 20 times slower than prose, byte for byte."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
from support.hostile_texts import PROSE_UNIT, UNITS, repeated

from hoptrail.rag.entities.extraction import extract_entities
from hoptrail.rag.errors import ParseError
from hoptrail.rag.ingest.chunking import chunk, chunk_record
from hoptrail.rag.ingest.packing import passage_spans
from hoptrail.rag.ingest.parsers.html import html_page
from hoptrail.rag.ingest.parsers.jsonl import record
from hoptrail.rag.ingest.parsers.markdown import markdown_page
from hoptrail.rag.text.analyzer import Analyzer
from hoptrail.rag.text.sentences import sentences
from hoptrail.rag.text.tokens import count_tokens
from hoptrail.rag.types import Document

SIZE = 20_000
"""Characters: large enough that what grows with the square is far beyond the bound."""
LARGE = 200_000
LARGE_MARKDOWN = 60_000

NOTES = "- The *cannery* at [Ostrand](x) was founded\n  in **1902** by `Laurvik`.\n\n## Sold\n\n"
PAGE = "<p>The <i>cannery</i> at <a href=x>Ostrand</a> was founded in <b>1902</b>.</p>\n"
WORLD = Path(__file__).parents[3] / "examples" / "world" / "corpus.jsonl"
NATURAL = "\n".join(json.loads(line)["text"] for line in WORLD.read_text().splitlines())
ORDINARY = {"markdown": NOTES, "html": PAGE, "terms": NATURAL}
"""Prose as it comes in a format whose every mark is looked at; and with words that a cache of words
has not met, for the analyser, to which a sentence repeated is one sentence."""

BOUND = 20.0
TICKS = 0.01
"""Seconds of processor time that a measurement takes at least: the clock has coarse ticks."""

SLOWEST = ("no-break spaces", "one endless word", "ligatures", "Chinese sentences", "unique codes")
LARGE_UNITS = {"html": ("end tags of others", "unclosed formatting", "self-closing tags", "tags")}


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
    "terms": lambda text: Analyzer("english").terms(text),
    "chunk": lambda text: chunk(document(text), overlap=40),
    "chunk of a record": lambda text: chunk_record(document(text), 256),
    "chunk and entities": entities_of_passages,
}


def seconds_a_byte(step: Callable[[str], object], text: str, tries: int, enough: float) -> float:
    """The least processor time of a few tries, stopped when one is quick enough."""
    size, least = len(text.encode()), float("inf")
    for _ in range(tries):
        began, runs = time.process_time(), 0
        while (took := time.process_time() - began) < TICKS:
            with suppress(ParseError):  # a blank text is refused; that takes time too
                step(text)
            runs += 1
        least = min(least, took / runs / size)
        if least <= enough:
            break
    return least


def slow_units(name: str, size: int, units: Iterable[str]) -> dict[str, float]:
    """The units with which a step takes longer than the bound, with how many times prose's."""
    step, ordinary = STEPS[name], ORDINARY.get(name, PROSE_UNIT)
    step(repeated(ordinary, 1_000))  # loads what it needs
    prose = seconds_a_byte(step, repeated(ordinary, size), 3, 0.0)
    slow = {}
    for unit in units:
        took = seconds_a_byte(step, repeated(UNITS[unit], size), 3, BOUND * prose)
        if took > BOUND * prose:
            slow[unit] = round(took / prose, 1)
    return slow


@pytest.mark.parametrize("name", STEPS)
def test_no_text_is_twenty_times_slower_than_prose(name: str) -> None:
    assert not slow_units(name, SIZE, UNITS)


@pytest.mark.parametrize("name", ["record", "html", "tokens", "sentences", "terms"])
def test_nor_is_a_large_text(name: str) -> None:
    assert not slow_units(name, LARGE, LARGE_UNITS.get(name, SLOWEST))


@pytest.mark.parametrize("unit", ["lines of deep quotes", "short rows of a wide table"])
def test_nor_is_large_markdown(unit: str) -> None:
    assert not slow_units("markdown", LARGE_MARKDOWN, [unit])


@pytest.mark.parametrize("unit", ["no-break spaces", "one endless word", "Chinese sentences"])
def test_time_grows_with_size(unit: str) -> None:
    """Twelve times the text takes at most 36 times as long, not 144 times."""
    step = STEPS["chunk of a record"]
    step(repeated(PROSE_UNIT, 1_000))
    small = seconds_a_byte(step, repeated(UNITS[unit], 10_000), 3, 0.0)
    assert seconds_a_byte(step, repeated(UNITS[unit], 120_000), 2, 3 * small) <= 3 * small
