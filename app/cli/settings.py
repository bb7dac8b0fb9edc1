"""Settings file: TOML tables with defaults for the options of the command line.

Every key is optional; an option on the command line wins over it. Paths are relative to the
settings file.

    [store]   dir, tenant, lexical, dense, language, graph, embedder, embedder_folder,
              embedder_key_file
    [ingest]  chunk_tokens, overlap, prune, max_file_mb, parse_seconds
    [search]  k, mode
    [ask]     strategy, mode, k, read, max_rounds, iterations, max_queries,
              context, claims_by, call_seconds, verification, per_document,
              rank_by, ranked, rank_window, rank_stride, rank_samples, query_writer,
              label_probabilities
    [model]   url, name, api_key_file, api_key_env
    [models.ROLE]  url, name, api_key_file, api_key_env, thinking, thought_tokens
              where ROLE is rewriter, planner, step_planner, ranker, refiner, assessor,
              query_writer, answerer, reader, reasoner, scorer or verifier
    [budget]  calls, tokens, searches, seconds
    [server]  host, port, strategy, questions, open_stores, body_mb, body_seconds, drain_seconds,
              receipts, link_days, public_url, links
    [server.keys.NAME]  hash, tenant, write, metrics, questions, tokens_per_minute,
              calls_per_minute, source_list, events, calls, tokens, searches, seconds
"""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from hoptrail.rag.errors import SettingsError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTable:
    """Table [store]: folder of the store, tenant, and the backends and embedder of a new store."""

    dir: Path | None = None
    tenant: str | None = None
    lexical: str | None = None
    dense: str | None = None
    language: str | None = None
    graph: str | None = None
    embedder: str | None = None
    embedder_folder: Path | None = None
    embedder_key_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestTable:
    """Table [ingest]: chunking, pruning and limits of parsing."""

    chunk_tokens: int | None = None
    overlap: int | None = None
    prune: bool | None = None
    max_file_mb: float | None = None
    parse_seconds: float | None = None
    sentences: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchTable:
    """Table [search]: options of `hoptrail search`."""

    k: int | None = None
    mode: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTable:
    """Table [ask]: strategy, search mode and limits of a run."""

    strategy: str | None = None
    mode: str | None = None
    k: int | None = None
    read: int | None = None
    max_rounds: int | None = None
    iterations: int | None = None
    max_queries: int | None = None
    context: str | None = None
    claims_by: str | None = None
    per_document: int | None = None
    rank_by: str | None = None
    ranked: int | None = None
    rank_window: int | None = None
    rank_stride: int | None = None
    rank_samples: int | None = None
    query_writer: str | None = None
    label_probabilities: bool | None = None
    call_seconds: float | None = None
    verification: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTable:
    """Table [model]: address, name and API key of a served model."""

    url: str | None = None
    name: str | None = None
    api_key_file: Path | None = None
    api_key_env: str | None = None
    """Name of the environment variable that holds the key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTable:
    """Table [models.ROLE]: what is different for the model of one role."""

    url: str | None = None
    name: str | None = None
    api_key_file: Path | None = None
    api_key_env: str | None = None
    thinking: bool | None = None
    thought_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsTable:
    """Tables [models.ROLE], one a role."""

    rewriter: RoleTable = field(default_factory=RoleTable)
    planner: RoleTable = field(default_factory=RoleTable)
    step_planner: RoleTable = field(default_factory=RoleTable)
    ranker: RoleTable = field(default_factory=RoleTable)
    refiner: RoleTable = field(default_factory=RoleTable)
    assessor: RoleTable = field(default_factory=RoleTable)
    query_writer: RoleTable = field(default_factory=RoleTable)
    answerer: RoleTable = field(default_factory=RoleTable)
    reader: RoleTable = field(default_factory=RoleTable)
    reasoner: RoleTable = field(default_factory=RoleTable)
    scorer: RoleTable = field(default_factory=RoleTable)
    verifier: RoleTable = field(default_factory=RoleTable)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetTable:
    """Table [budget]: limits of one run."""

    calls: int | None = None
    tokens: int | None = None
    searches: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTable:
    """Table [server.keys.NAME]: an API key of the server, its tenant and limits."""

    hash: str
    tenant: str | None = None
    write: bool | None = None
    metrics: bool | None = None
    questions: int | None = None
    tokens_per_minute: int | None = None
    calls_per_minute: int | None = None
    source_list: bool | None = None
    events: str | None = None
    calls: int | None = None
    tokens: int | None = None
    searches: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTable:
    """Table [server]: where `hoptrail serve` listens, its limits and its API keys."""

    host: str | None = None
    port: int | None = None
    strategy: str | None = None
    questions: int | None = None
    open_stores: int | None = None
    body_mb: float | None = None
    body_seconds: float | None = None
    drain_seconds: float | None = None
    receipts: int | None = None
    link_days: float | None = None
    public_url: str | None = None
    links: tuple[str, ...] | None = None
    keys: Mapping[str, KeyTable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSettings:
    """All tables of a settings file."""

    store: StoreTable = field(default_factory=StoreTable)
    ingest: IngestTable = field(default_factory=IngestTable)
    search: SearchTable = field(default_factory=SearchTable)
    ask: AskTable = field(default_factory=AskTable)
    model: ModelTable = field(default_factory=ModelTable)
    models: ModelsTable = field(default_factory=ModelsTable)
    budget: BudgetTable = field(default_factory=BudgetTable)
    server: ServerTable = field(default_factory=ServerTable)


def load_settings(path: Path | None) -> FileSettings:
    """Reads a settings file; None gives empty tables.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or has an unknown key or a wrong value.
    """
    if path is None:
        return FileSettings()
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"The settings file {str(path)!r} cannot be read: {error.strerror}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {str(path)!r} is no TOML: {error}.") from error
    except RecursionError:
        raise _too_deep(path) from None
    _check_tables(path, tables)
    return _anchored(_validated(path, tables), path.parent)


def given(**values: T | None) -> dict[str, T]:
    """Drops the values that are None."""
    return {name: value for name, value in values.items() if value is not None}


def first(*values: T | None) -> T | None:
    """The first value that is not None; an empty one counts, and is refused by whoever reads it."""
    return next((value for value in values if value is not None), None)


def set_in(table: object, *names: str) -> dict[str, Any]:
    """Values of the named keys of a table that are set."""
    return given(**{name: getattr(table, name) for name in names})


def over(table: object, flags: object, *names: str) -> dict[str, Any]:
    """Values of the named keys: from the flags, else from the table; without unset ones."""
    return {**set_in(table, *names), **set_in(flags, *names)}


def nearest(name: str, known: Iterable[str]) -> str:
    """Remedy for an unknown name: the most similar known name, or all known names."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."


def _check_tables(path: Path, tables: Mapping[str, Any]) -> None:
    known = {one.name: one.default_factory for one in fields(FileSettings)}
    for name, table in tables.items():
        if name not in known:
            raise SettingsError(
                f"Unknown table [{name}] in the settings file {str(path)!r}: {nearest(name, known)}"
            )
        _check_keys(path, name, table, known[name])


def _check_keys(path: Path, name: str, table: object, kind: Any) -> None:  # noqa: ANN401 - a class
    """Refuses a table that is none, and unknown keys in it and in the tables that it holds."""
    if not isinstance(table, Mapping):
        raise SettingsError(
            f"{name!r} in the settings file {str(path)!r} must be a table: write [{name}]."
        )
    known = {one.name: one.default_factory for one in fields(kind)}
    for key, value in table.items():
        if key not in known:
            raise SettingsError(
                f"Unknown key {key!r} in [{name}] of the settings file {str(path)!r}: "
                f"{nearest(key, known)}"
            )
        if is_dataclass(known[key]):
            _check_keys(path, f"{name}.{key}", value, known[key])
        if kind is ServerTable and key == "keys" and isinstance(value, Mapping):
            for one, of_key in value.items():
                _check_keys(path, f"{name}.{key}.{one}", of_key, KeyTable)


def _validated(path: Path, tables: Mapping[str, Any]) -> FileSettings:
    # Only here: pydantic takes longer to import than most commands without a file take to run.
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(FileSettings).validate_json(_as_json(tables), strict=True)
    except RecursionError:
        raise _too_deep(path) from None
    except ValidationError as error:
        from hoptrail.rag.embedders.server_url import without_password

        first = error.errors()[0]
        if not first["loc"]:  # JSON that its reader gives up on, made of valid TOML
            raise _too_deep(path) from None
        depth = 3 if first["loc"][0] == "models" else 4 if first["loc"][1:2] == ("keys",) else 2
        *names, key = first["loc"][:depth]
        table = ".".join(map(str, names))
        value = without_password(reprlib.repr(first["input"]))
        raise SettingsError(
            f"The value {key} = {value} in [{table}] of the settings file {str(path)!r} is wrong: "
            f"{first['msg'].lower()}."
        ) from None


def _too_deep(path: Path) -> SettingsError:
    return SettingsError(
        f"The settings file {str(path)!r} is nested too deeply: its tables hold plain values."
    )


def _as_json(tables: Mapping[str, Any]) -> str:
    # JSON mode is strict about numbers yet takes a string for a path; TOML dates become strings.
    import json

    return json.dumps(tables, default=str)


def _anchored(settings: FileSettings, folder: Path) -> FileSettings:
    """Makes relative paths relative to the folder of the settings file."""
    store, model, models = settings.store, settings.model, settings.models
    roles = {one.name: getattr(models, one.name) for one in fields(models)}
    return replace(
        settings,
        store=replace(
            store,
            dir=_under(folder, store.dir),
            embedder_folder=_under(folder, store.embedder_folder),
            embedder_key_file=_under(folder, store.embedder_key_file),
        ),
        model=replace(model, api_key_file=_under(folder, model.api_key_file)),
        models=ModelsTable(
            **{
                role: replace(table, api_key_file=_under(folder, table.api_key_file))
                for role, table in roles.items()
            }
        ),
    )


def _under(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else folder / path.expanduser()
