"""The record of a .jsonl line as a document: its keys, their checks, and what is not read."""

from __future__ import annotations

import logging
import reprlib
from collections.abc import Mapping
from difflib import get_close_matches

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.files import SourceFile, UnreadableFile
from hoptrail.rag.ingest.parsers.base import short_title
from hoptrail.rag.store.catalogue.filters import filter_tokens
from hoptrail.rag.types import Document, Scalar

_LONGEST_ID = 1000

_KEYS: dict[str, tuple[str, ...]] = {
    "id": ("docid", "doc_id", "document_id", "pid", "uid"),
    "title": ("name", "heading", "headline"),
    "text": ("content", "contents", "body", "passage", "paragraph"),
    "meta": ("metadata", "metas", "attributes", "properties"),
}
"""The keys of a record, with names that other tools give them."""
_MOST_UNREAD = 20
"""Keys that are named in the warnings of a file."""

_LOG = logging.getLogger(__name__)


def document_of(fields: Mapping[str, object]) -> Document:
    """Returns the document of a record.

    Raises:
        Refused: it is no record; says why.
    """
    identifier = identifier_of(fields.get("id"), hint=_hint(fields, "id"))
    try:
        return Document(
            id=identifier,
            title=short_title(_string(fields, "title", optional=True)),
            text=_string(fields, "text"),
            metadata=_metadata(fields.get("meta")),
        )
    except UnreadableFile as refused:
        raise UnreadableFile(refused.reason, refused.kind, identifier) from None


class UnreadKeys:
    """The keys of a file's records that are not read: a warning names each, once."""

    def __init__(self, source: SourceFile) -> None:
        self._path = source.path
        self._told: set[str] = set()

    def note(self, fields: Mapping[str, object], number: int) -> None:
        """Warns of the keys of a record that are new here."""
        for key in fields:
            if key in _KEYS or key in self._told or len(self._told) == _MOST_UNREAD:
                continue
            self._told.add(key)
            near = _meant(key)
            remedy = (
                f"did you mean {near!r}?" if near else 'what is to be filtered by goes in "meta".'
            )
            last = " (Further keys are not named.)" if len(self._told) == _MOST_UNREAD else ""
            _LOG.warning(
                "%s, line %d: the key %.80r is not read: %s%s",
                self._path,
                number,
                key,
                remedy,
                last,
            )


def _meant(key: str) -> str | None:
    """The known key that another one may stand for."""
    name = key.strip("_").casefold()
    for known, others in _KEYS.items():
        if name in (known, *others):
            return known
    return next(iter(get_close_matches(name, _KEYS, n=1, cutoff=0.7)), None)


def _hint(fields: Mapping[str, object], name: str) -> str:
    """Names the key that seems to stand in the place of a missing one."""
    if fields.get(name) is not None:
        return ""
    near = next((key for key in fields if key not in _KEYS and _meant(key) == name), None)
    return "" if near is None else f' (the record has {near!r}: call it "{name}")'


def identifier_of(value: object, *, hint: str = "") -> str:
    """Returns a record's id as text; `hint` is added where it can be none.

    Raises:
        Refused: it can be no id.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        raise UnreadableFile(
            f'needs an "id" that is a string or an integer, not {reprlib.repr(value)}{hint}',
            "malformed",
        )
    if not value.isprintable() or len(value) > _LONGEST_ID:
        raise UnreadableFile(
            f"has an id with control characters or above {_LONGEST_ID} characters, {value!r:.60}",
            "malformed",
        )
    return value


def _string(fields: Mapping[str, object], name: str, *, optional: bool = False) -> str:
    value = fields.get(name)
    if value is None and optional:
        return ""
    if not isinstance(value, str):
        raise UnreadableFile(
            f'needs a "{name}" that is a string, not {type(value).__name__}{_hint(fields, name)}',
            "malformed",
        )
    if not optional and not value.strip():
        raise UnreadableFile(f'has a blank "{name}"', "empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UnreadableFile(
            f'has half a character (a lone surrogate) at character {error.start} of "{name}"',
            "encoding",
        ) from None
    return value


def _metadata(value: object) -> dict[str, Scalar]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UnreadableFile(
            f'has a "meta" that is not an object but {reprlib.repr(value)}', "malformed"
        )
    value = {key: item for key, item in value.items() if item is not None}
    for key, item in value.items():
        if not isinstance(item, str | int | float | bool):
            raise UnreadableFile(
                f'has a "meta" whose {reprlib.repr(key)} is not a string, number or boolean: '
                "write it as one, or leave it out",
                "malformed",
            )
    try:
        filter_tokens(value)
    except (SettingsError, UnicodeEncodeError) as error:
        raise UnreadableFile(f'has a "meta" that cannot be kept: {error}', "malformed") from None
    return value
