"""From options to an open store and its embedder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from hoptrail.app.settings import StoreTable
from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from hoptrail.rag.protocols import Embedder
    from hoptrail.rag.store import Store, StoreSpec
    from hoptrail.rag.types import Scalar

DEFAULT_TENANT = "default"

WAIT = 30.0
"""Seconds that a command waits for another writer."""


def place(store: Path | None, tenant: str | None, table: StoreTable) -> tuple[Path, str]:
    """The folder and the tenant that are meant.

    Raises:
        SettingsError: no folder is named.
    """
    folder = store if store is not None else table.dir
    if folder is None:
        raise SettingsError(
            "No store is named: give --store DIR, or dir in [store] of a settings file."
        )
    return folder, tenant or table.tenant or DEFAULT_TENANT


def open_store(root: Path, tenant: str, wait: float) -> Store:
    """An existing store, without its embedder; a write waits `wait` seconds for another."""
    from hoptrail.rag.store import Store  # noqa: PLC0415 (heavy: loaded when used)

    return Store.open(root, tenant=tenant, wait=wait)


def spec_of(root: Path, tenant: str) -> StoreSpec:
    """What an existing store was made with.

    Raises:
        StoreMissing, StoreMismatch, StoreDamaged: there is none that can be read.
    """
    from hoptrail.rag.founding import opened  # noqa: PLC0415
    from hoptrail.rag.layout import Layout, disk_errors  # noqa: PLC0415

    layout = Layout(root=root, tenant=tenant)
    with disk_errors(layout.folder):
        return opened(layout, None)[0]


def embedder_of(
    root: Path, tenant: str, chosen: str | None, folder: Path | None, table: StoreTable
) -> Embedder:
    """The embedder that a store was made with, found by what the store records of it.

    Raises:
        StoreMissing, StoreDamaged: there is no store, or it cannot be read.
        SettingsError: it is one that must be named.
    """
    named = embedder_name(chosen, folder, table)
    recorded = spec_of(root, tenant).embedder
    return load(named or _remembered(recorded))


def embedder_name(chosen: str | None, folder: Path | None, table: StoreTable) -> str | None:
    """How the embedder is called on the command line or in the settings; None: not at all."""
    name = chosen or table.embedder
    folder = folder or table.embedder_folder
    if folder is None:
        return name
    if name not in (None, "minilm"):
        raise SettingsError(
            f"A folder of weights goes with the embedder 'minilm', not with {name!r}: "
            "leave one of them out."
        )
    return f"minilm:{folder}"


def load(name: str) -> Embedder:
    """The embedder of that name."""
    from hoptrail.rag.embed import load_embedder  # noqa: PLC0415

    return load_embedder(name)


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


def _scalar(value: str) -> Scalar:
    """The value as JSON has it where it is a JSON scalar, else as text."""
    try:
        parsed = json.loads(value, parse_constant=str)
    except ValueError:
        return value
    return parsed if isinstance(parsed, str | int | float | bool) else value


def _remembered(identifier: str) -> str:
    if identifier.startswith("hash-") or identifier == "all-MiniLM-L6-v2":
        return identifier
    if identifier.startswith("bert-"):
        raise SettingsError(
            f"The store was made with weights from a folder ({identifier!r}): "
            "name it again with --embedder-folder DIR."
        )
    raise SettingsError(
        f"The store was made with the embedder {identifier!r} of a server: "
        f"name the server with --embedder http://HOST:PORT/v1#{identifier}."
    )
