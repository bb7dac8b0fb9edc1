"""Bombs: small files that cost far more than their size, each ingested within bounds.

Each lies beside a harmless file in a folder that `hoptrail ingest` reads in a process of its own.
It may be stored or refused; the command has to end in time and within its memory, without a
traceback, and the harmless file has to be in the store.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hoptrail.evals.attacks.process import Bounds, ingest_command
from hoptrail.evals.attacks.sandbox import Sandbox
from hoptrail.evals.attacks.types import Kind, Measure, Verdict, passed_unless
from hoptrail.rag.store.store import Store

_HARMLESS = "harmless.txt"
_SIZE = 300_000
"""Characters of most of the bombs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bomb:
    """A file that is made when it is used, and the bounds within which an ingest has to end."""

    name: str
    suffix: str
    make: Callable[[], str | bytes]
    bounds: Bounds = field(default_factory=Bounds)

    @property
    def kind(self) -> Kind:
        """Its kind."""
        return "bomb"

    def run(self, sandbox: Sandbox) -> Verdict:
        """Ingests the file into a store of its own."""
        folder = sandbox.scratch()
        (folder / "files").mkdir()
        content = self.make()
        data = content.encode() if isinstance(content, str) else content
        (folder / "files" / f"bomb{self.suffix}").write_bytes(data)
        (folder / "files" / _HARMLESS).write_text("The harmless file is read too.")
        # Exit code 1: a file was refused, which is told.
        ended = ingest_command(folder / "files", folder / "store", self.bounds)
        problem = ended.problem(self.bounds, codes=(0, 1))
        if not problem and not _holds_harmless(folder / "store"):
            problem = "the harmless file beside it was not stored"
        return passed_unless(
            problem,
            f"{len(data) / 1e3:,.0f} KB in {ended.seconds:.1f} s of the processor",
            Measure(name="seconds of the processor", value=ended.seconds),
            Measure(name="megabytes of memory", value=ended.memory_bytes / 1e6),
        )


def bombs() -> tuple[Bomb, ...]:
    """All bombs."""
    return (
        Bomb(name="title-bomb", suffix=".html", make=_title_bomb),
        Bomb(name="many-titles", suffix=".html", make=lambda: "<h1>Sea</h1><p>x.</p>" * 15_000),
        Bomb(name="record-title", suffix=".jsonl", make=_record_title),
        Bomb(name="slow-sentences", suffix=".txt", make=lambda: "\u00a0." * (_SIZE // 2)),
        Bomb(name="full-stops", suffix=".txt", make=lambda: ". " * (_SIZE // 2)),
        Bomb(name="abbreviations", suffix=".txt", make=lambda: "Mr.A." * (_SIZE // 5)),
        Bomb(name="endless-line", suffix=".txt", make=lambda: "a" * 1_000_000),
        Bomb(name="one-number", suffix=".txt", make=lambda: "9" * 1_000_000),
        Bomb(name="open-brackets", suffix=".md", make=lambda: "[(" * (_SIZE // 2)),
        Bomb(name="backticks", suffix=".md", make=lambda: "`" * 99 + " ` `` *_" * (_SIZE // 7)),
        Bomb(name="combining-marks", suffix=".txt", make=lambda: "e" + "\u0301" * _SIZE),
        Bomb(name="names", suffix=".txt", make=lambda: "Ab Cd-Ef of Gh " * (_SIZE // 15)),
        Bomb(name="nested-html", suffix=".html", make=lambda: "<div>" * 100_000 + "deep"),
        Bomb(name="html-entity", suffix=".html", make=lambda: f"<p>&#{'9' * 1_000_000};</p>"),
        Bomb(name="nested-json", suffix=".jsonl", make=_nested_json),
        Bomb(name="gzip-repeated", suffix=".jsonl.gz", make=_repeated),
    )


def _holds_harmless(store: Path) -> bool:
    with Store.open(store) as opened:
        return any(Path(one).name.startswith(_HARMLESS) for one in opened.documents())


def _title_bomb() -> str:
    title = " ".join(f"lamp{number}" for number in range(60_000))
    body = ("<p>" + "The lamp was lit. It burns oil. " * 30 + "</p>") * 100
    return f"<title>{title}</title>{body}"


def _record_title() -> str:
    return '{"id": "a", "title": "' + "Sea lamp " * 110_000 + '", "text": "The lamp was lit."}\n'


def _nested_json() -> str:
    nested = "[" * 100_000 + "]" * 100_000
    return '{"id": "a", "text": "A lamp.", "meta": {"deep": ' + nested + "}}\n"


def _repeated() -> bytes:
    line = b'{"id": "a", "text": "' + b"lamp " * 8_000_000 + b'"}\n'
    return gzip.compress(line * 2, compresslevel=9)
