"""What a store refuses to take in: documents whose parts do not fit together."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.facets import facets
from hoptrail.rag.types import Document, IndexedDocument, Passage, passage_id

LONGEST = 1.001
"""A vector's greatest L2 norm; the exact index's margin rests on unit vectors."""


def check_puts(puts: Sequence[IndexedDocument], dimension: int) -> None:
    """Raises SettingsError unless every document, passage and vector is sound."""
    seen: set[str] = set()
    for item in puts:
        document = item.document
        if document.id in seen:
            raise SettingsError(f"The document {document.id!r} stands twice in one commit.")
        seen.add(document.id)
        _check_document(document)
        _check_vectors(item, dimension)
        offsets = set()
        for passage in item.passages:
            _check_passage(passage, document)
            offsets.add((passage.start, passage.end))
        if len(offsets) < len(item.passages):
            raise SettingsError(f"The document {document.id!r} has one passage twice.")


def check_deletes(puts: Sequence[IndexedDocument], deletes: Collection[str]) -> None:
    """Raises SettingsError if a document is to be put and deleted at once."""
    if isinstance(deletes, str):
        raise SettingsError(f"`deletes` must be a collection of ids, not the string {deletes!r}.")
    both = {item.document.id for item in puts} & set(deletes)
    if both:
        raise SettingsError(f"The document {min(both)!r} is both put and deleted in one commit.")


def _check_document(document: Document) -> None:
    if not document.id:
        raise SettingsError("A document needs an id that is not empty.")
    facets(document.metadata)
    for name, text in (("id", document.id), ("title", document.title), ("text", document.text)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SettingsError(
                f"The {name} of document {document.id!r} is not valid Unicode (a lone surrogate at "
                f"character {error.start}): replace it before ingesting."
            ) from None


def _check_passage(passage: Passage, document: Document) -> None:
    start, end = passage.start, passage.end
    if passage.document_id != document.id or passage.title != document.title:
        raise SettingsError(f"The passage {passage.id!r} is not one of document {document.id!r}.")
    if not 0 <= start < end <= len(document.text) or document.text[start:end] != passage.text:
        raise SettingsError(
            f"The passage {passage.id!r} is not characters {start} to {end} of {document.id!r}."
        )
    if passage.id != passage_id(document.id, start, end):
        raise SettingsError(f"The passage id {passage.id!r} does not follow from its offsets.")


def _check_vectors(item: IndexedDocument, dimension: int) -> None:
    vectors = item.vectors
    wanted = (len(item.passages), dimension)
    if not item.passages and len(vectors) == 0:
        return
    if vectors.shape != wanted or vectors.dtype != np.float32:
        raise SettingsError(
            f"The document {item.document.id!r} needs vectors of shape {wanted} float32, not "
            f"{vectors.shape} {vectors.dtype}."
        )
    norms = np.einsum("ij,ij->i", vectors, vectors)
    if not (norms <= LONGEST**2).all():
        raise SettingsError(
            f"The vectors of document {item.document.id!r} are not L2-normalised finite numbers."
        )
