"""A question set about the small chain of documents, and an embedder that counts what it embeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from support.agents import CHAIN, QUESTION, UNKNOWN

from hoptrail.rag.embedders.base import TextKind
from hoptrail.rag.embedders.hashing import HashEmbedder
from hoptrail.rag.types import Vectors

BLANK = " "
"""A question that no run accepts."""

QUESTIONS: tuple[Mapping[str, object], ...] = (
    {"id": "q1", "question": QUESTION, "answers": ["Tarn Hollow"], "supporting_ids": ["d1", "d2"]},
    {"id": "q2", "question": UNKNOWN, "answers": [], "supporting_ids": [], "answerable": False},
    {
        "id": "q3",
        "question": "When was the light of Port Saben lit?",
        "answers": ["3 May 1869", "May 1869"],
        "supporting_ids": ["d5"],
    },
    {
        "id": "q4",
        "question": "Who founded the Veil Institute?",
        "answers": ["Otto Renn"],
        "supporting_ids": ["d4"],
        "support_source": "partial",
    },
    {
        "id": "q5",
        "question": "What did Brann Maddock's father do?",
        "answers": [],
        "supporting_ids": ["d8", "d1"],
        "grades": {"d8": 2, "d1": 1},
    },
)
"""Two hops, unanswerable, one hop, supports known in part, graded without an answer."""


def write_set(
    folder: Path,
    questions: Sequence[Mapping[str, object]] = QUESTIONS,
    chain: Mapping[str, tuple[str, str]] = CHAIN,
) -> Path:
    """A data set folder over a chain of documents."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [{"id": name, "title": title, "text": text} for name, (title, text) in chain.items()]
    for name, lines in (("corpus", records), ("questions", questions)):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


class Counting(HashEmbedder):
    """The hash embedder; `passages` are the texts embedded as passages, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.passages: list[str] = []

    def embed(self, texts: Sequence[str], kind: TextKind = "passage") -> Vectors:
        if kind == "passage":
            self.passages += texts
        return super().embed(texts, kind)
