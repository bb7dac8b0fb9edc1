"""From options to an open store and its embedder.

The embedder's options come as a `StoreTable` of what was typed, beside that of the settings file.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hoptrail.app.cli.model_options import read_key
from hoptrail.app.cli.settings import AskTable, BudgetTable, StoreTable, first, over
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.agents import Budget, RunSettings
    from hoptrail.rag.embedders.base import Embedder
    from hoptrail.rag.store.store import Store, StoreSpec
    from hoptrail.rag.types import Scalar, Where

DEFAULT_TENANT = "default"

WAIT = 30.0
"""Seconds that a command waits for another writer."""


def store_location(store: Path | None, tenant: str | None, table: StoreTable) -> tuple[Path, str]:
    """The folder and the tenant that are meant.

    Raises:
        SettingsError: no folder is named.
    """
    folder = store if store is not None else table.dir
    if folder is None:
        raise SettingsError(
            "No store is named: give --store DIR, or dir in [store] of a settings file."
        )
    named = first(tenant, table.tenant)
    return folder, DEFAULT_TENANT if named is None else named


def open_store(root: Path, tenant: str, wait: float) -> Store:
    """An existing store, without its embedder; a write waits `wait` seconds for another."""
    from hoptrail.rag.store.store import Store

    return Store.open(root, tenant=tenant, wait=wait)


def spec_of(root: Path, tenant: str) -> StoreSpec:
    """What an existing store was made with.

    Raises:
        StoreMissing, StoreMismatch, StoreDamaged: there is none that can be read.
    """
    from hoptrail.rag.store.layout import Layout, disk_errors
    from hoptrail.rag.store.spec import read_spec

    layout = Layout(root=root, tenant=tenant)
    with disk_errors(layout.folder):
        return read_spec(layout, None)[0]


def embedder_flags(embedder: str | None, folder: Path | None, key_file: Path | None) -> StoreTable:
    """What was typed about the embedder."""
    return StoreTable(embedder=embedder, embedder_folder=folder, embedder_key_file=key_file)


def embedder_of(root: Path, tenant: str, flags: StoreTable, table: StoreTable) -> Embedder:
    """The embedder that a store was made with, found by what the store records of it.

    Raises:
        StoreMissing, StoreDamaged: there is no store, or it cannot be read.
        SettingsError: it is one that must be named, or its key file cannot be read.
    """
    from hoptrail.rag.embedders.loading import recorded_embedder

    recorded = spec_of(root, tenant).embedder
    return named_embedder(flags, table) or recorded_embedder(recorded)


def named_embedder(flags: StoreTable, table: StoreTable) -> Embedder | None:
    """The embedder that the command line or the settings name; None: they name none.

    Raises:
        SettingsError: a combination that cannot be, or a key file that cannot be read.
        EmbedderError: it is not found, or its server does not answer.
    """
    name = embedder_name(flags.embedder, flags.embedder_folder, table)
    if flags.embedder_key_file is not None and not _is_server(name):
        raise SettingsError(
            "--embedder-key-file goes with a server: name that with --embedder "
            "http://HOST:PORT/v1#MODEL, or leave the key out."
        )
    key_file = first(flags.embedder_key_file, table.embedder_key_file)
    return None if name is None else load(name, key_file)


def embedder_name(chosen: str | None, folder: Path | None, table: StoreTable) -> str | None:
    """How the embedder is called on the command line or in the settings; None: not at all."""
    name = first(chosen, table.embedder)
    folder = first(folder, table.embedder_folder)
    if folder is None:
        return name
    if name is not None and name != "minilm":
        from hoptrail.rag.embedders.server_url import without_password

        raise SettingsError(
            f"A folder of weights goes with the embedder 'minilm', not with "
            f"{without_password(name)!r}: leave one of them out."
        )
    return f"minilm:{folder}"


def load(name: str, key_file: Path | None = None) -> Embedder:
    """The embedder of that name; only a server's needs the key."""
    from hoptrail.rag.embedders.loading import load_embedder

    key = read_key(key_file) if key_file is not None and _is_server(name) else None
    return load_embedder(name, api_key=key)


def where_of(conditions: list[str] | None) -> dict[str, Scalar]:
    """The filter that `KEY=VALUE` arguments spell.

    Raises:
        SettingsError: one of them has no `=`, no key, or names a key twice.
    """
    where: dict[str, Scalar] = {}
    for condition in conditions or ():
        key, equals, value = condition.partition("=")
        if not equals or not key:
            raise SettingsError(f"--where {condition!r}: write KEY=VALUE, such as year=1894.")
        if key in where:
            raise SettingsError(f"--where names {key!r} twice, and a value is only equal to one.")
        where[key] = _scalar(value)
    return where


def _is_server(embedder: str | None) -> bool:
    return embedder is not None and embedder.startswith(("http://", "https://"))


def _scalar(value: str) -> Scalar:
    """The value that a condition spells.

    A number where the text is how that number is written (1884, 1.5; not 007, 1.10 or 12E4, which
    are texts), true and false, a text in quotes; else the text as it is.
    """
    if value in ("true", "false"):
        return value == "true"
    if not value.strip("-.0123456789"):
        for number in (int, float):
            with suppress(ValueError):  # more digits than Python reads, too
                if str(parsed := number(value)) == value:
                    return parsed
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:
            return value
    return value


def unmatched(store: Store, where: Where) -> str:
    """Why a filter keeps no document of a store; empty: it keeps some."""
    reason = store.snapshot().unmatched(where) if where else ""
    return reason and f"--where keeps no document: {reason}"


def budget_of(
    calls: int | None,
    tokens: int | None,
    searches: int | None,
    seconds: float | None,
    table: BudgetTable,
) -> Budget:
    """The budget that flags and settings give.

    Raises:
        SettingsError: it leaves nothing to do.
    """
    from hoptrail.agents import Budget

    flags = BudgetTable(calls=calls, tokens=tokens, searches=searches, seconds=seconds)
    return Budget(**over(table, flags, *BudgetTable.__slots__))


def run_settings(mode: str | None, table: AskTable) -> RunSettings:
    """How far, wide and along what a run searches; what was typed is over the settings."""
    from hoptrail.agents import RunSettings

    typed = AskTable(mode=mode)
    names = tuple(name for name in AskTable.__slots__ if name != "strategy")
    return RunSettings(**over(table, typed, *names))
