"""Chunking: documents and records into passages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

from hoptrail.rag.embedders.base import Embedder
from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.packing import MINIMUM_BUDGET, passage_spans
from hoptrail.rag.text.sentences import Span, sentence_languages
from hoptrail.rag.text.tokens import count_tokens
from hoptrail.rag.types import Document, Passage, passage_id

_SPLITTING = 1
"""Counted up when the same settings give other passages, so that old ones are replaced."""

RECORD_SHARE = 0.75
"""Part of an embedder's window that a piece of a split record may fill, in cl100k_base tokens.
MiniLM's WordPiece makes 0.97 times as many of English encyclopaedia text on average, 1.2 times at
most (passages above 60 tokens, 9,000 seen), and more of other languages."""

Splitter = Callable[[str, int, int, str], list[Span]]
"""Text, token budget, overlap and language to the spans of passages."""


def chunk(
    document: Document,
    *,
    budget: int = 180,
    overlap: int = 0,
    language: str = "english",
    split: Splitter = passage_spans,
) -> tuple[Passage, ...]:
    """Returns the passages of `document` in order; none if it is blank.

    Each is as many whole sentences as fit. A sentence above the budget is cut at line ends, else
    between words, else after punctuation of a script without spaces, else between characters.
    Every character that is not white space is in a passage, and in one only when `overlap` is 0.

    Args:
        document: what to split.
        budget: most cl100k_base tokens of a passage's text, at least 8.
        overlap: most tokens of whole sentences that a passage repeats from the end of the one
            before, `0 <= overlap < budget`. They are left out where the next one would not fit.
        language: whose sentence rules apply.
        split: makes the spans, perhaps in another process.

    Raises:
        SettingsError: budget, overlap or language is impossible.
    """
    check_chunking(budget, overlap)
    spans = split(document.text, budget, overlap, language)
    return tuple(_passage(document, start, end) for start, end in spans)


def chunk_record(
    document: Document,
    window: int,
    *,
    language: str = "english",
    split: Splitter = passage_spans,
) -> tuple[Passage, ...]:
    """Returns a record as one passage, or as several if the embedder would not read it whole.

    Title and text share the window. A longer record becomes passages of at most 3/4 of what the
    title leaves (a tokenizer makes its own number of tokens), and of at least 3/8 of the window.

    Args:
        document: a record of a corpus, its text a passage already.
        window: tokens that the embedder reads.
        language: whose sentence rules apply.
        split: as in `chunk`.

    Raises:
        SettingsError: the window is below 16 tokens or the language unknown.
    """
    if window < 2 * MINIMUM_BUDGET:
        raise SettingsError(
            f"The embedder reads only {window!r} tokens at once. Use one that reads at least "
            f"{2 * MINIMUM_BUDGET}."
        )
    left = window - count_tokens(document.title)
    text = document.text.strip()
    if not text:
        return ()
    if count_tokens(text) <= left:
        start = len(document.text) - len(document.text.lstrip())
        return (_passage(document, start, start + len(text)),)
    budget = max(MINIMUM_BUDGET, int(RECORD_SHARE * max(left, window / 2)))
    return chunk(document, budget=budget, language=language, split=split)


class DocumentChunker:
    """Makes the passages of the documents of one ingest, and the fingerprints of what made them."""

    def __init__(self, embedder: Embedder, *, budget: int, overlap: int, language: str) -> None:
        """Takes what `chunk` does, and the embedder whose window bounds a record.

        `language` is the store's; where no sentences are known of it, those of English are.
        """
        self.split: Splitter = passage_spans
        """How a text is split; a parser's way has limits of time and memory."""
        named = language.partition("+")[0]
        self._language = named if named in sentence_languages() else "english"
        self._embedder = embedder
        self._budget, self._overlap = budget, overlap

    def passages(self, document: Document, is_record: bool) -> tuple[Passage, ...]:
        """The passages of a file's document, or of a record, which mostly is one itself.

        Raises:
            UnreadableFile: splitting takes too long or too much memory.
        """
        language, split = self._language, self.split
        if is_record:
            return chunk_record(document, self._embedder.window, language=language, split=split)
        return chunk(
            document, budget=self._budget, overlap=self._overlap, language=language, split=split
        )

    def fingerprint(self, document: Document, is_record: bool) -> str:
        """SHA-256 of all that passages and vectors follow from, as 64 hexadecimal digits."""
        how = (
            ("record", self._embedder.window)
            if is_record
            else ("file", self._budget, self._overlap)
        )
        body = json.dumps([_SPLITTING, document.hash, self._embedder.id, self._language, how])
        return hashlib.sha256(body.encode()).hexdigest()


def check_chunking(budget: int, overlap: int) -> None:
    """Raises SettingsError unless `budget >= 8` and `0 <= overlap < budget`."""
    if budget < MINIMUM_BUDGET:
        raise SettingsError(
            f"A passage of {budget!r} tokens is too small. Set at least {MINIMUM_BUDGET}."
        )
    if not 0 <= overlap < budget:
        raise SettingsError(
            f"An overlap of {overlap!r} tokens does not fit passages of {budget!r}. Set it from "
            f"0 to {budget - 1}."
        )


def _passage(document: Document, start: int, end: int) -> Passage:
    return Passage(
        id=passage_id(document.id, start, end),
        document_id=document.id,
        start=start,
        end=end,
        title=document.title,
        text=document.text[start:end],
    )
