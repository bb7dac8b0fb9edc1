"""`hoptrail serve`: answers over HTTP, as an OpenAI-compatible chat model."""

from __future__ import annotations

import threading
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hoptrail.app.cli import options
from hoptrail.app.cli.model_options import role_models, served_model
from hoptrail.app.cli.output import note, say
from hoptrail.app.cli.resolve import (
    budget_of,
    embedder_flags,
    embedder_of,
    run_settings,
    spec_of,
    store_location,
)
from hoptrail.app.cli.settings import (
    BudgetTable,
    FileSettings,
    KeyTable,
    ServerTable,
    StoreTable,
    first,
    given,
    load_settings,
    over,
    set_in,
)
from hoptrail.rag.errors import SettingsError, StoreMissing

if TYPE_CHECKING:
    from hoptrail.agents import Budget, KnowledgeBase, RoleModels
    from hoptrail.app.server.server_settings import ApiKey, ServerSettings

_NEEDED = ("fastapi", "prometheus_client", "uvicorn")
_PLAIN = (
    "host", "port", "strategy", "questions", "open_stores", "body_seconds", "drain_seconds",
    "receipts", "link_days", "public_url", "links",
)  # fmt: skip
_OF_KEY = (
    "tenant", "write", "metrics", "questions", "tokens_per_minute", "calls_per_minute",
    "source_list", "events",
)  # fmt: skip
_MEGABYTE = 1_000_000


def serve(  # noqa: PLR0913 (a command's options are its parameters)
    *,
    store: options.StoreDir = None,
    tenant: options.Tenant = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Address to listen on.  [default: 127.0.0.1]"),
    ] = None,
    port: Annotated[
        int | None, typer.Option(metavar="N", help="Port to listen on.  [default: 8080]")
    ] = None,
    model: options.ModelUrl = None,
    model_name: options.ModelName = None,
    api_key_file: options.KeyFile = None,
    role: options.RoleSettings = None,
    embedder: options.EmbedderName = None,
    embedder_folder: options.EmbedderFolder = None,
    embedder_key_file: options.EmbedderKeyFile = None,
    settings: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "--settings",
            metavar="FILE",
            envvar="HOPTRAIL_SETTINGS",
            help="TOML file with API keys ([server.keys.NAME]), limits and what stands behind "
            "these options.",
        ),
    ] = None,
    new_key: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Make an API key, print it and its lines for FILE, and end."
        ),
    ] = None,
) -> None:
    """Serve answers over HTTP, as an OpenAI-compatible chat model."""
    _check_installed()
    if new_key is not None:
        _print_key(new_key, tenant)
        return
    tables = load_settings(settings)
    root, name = store_location(store, tenant, tables.store)
    default = served_model(model, model_name, api_key_file, tables.model)
    models = role_models(default, tables.models, role)
    typed = ServerTable(host=host, port=port)
    chosen = server_settings(root, name, tables, typed, models)
    flags = embedder_flags(embedder, embedder_folder, embedder_key_file)
    for one in chosen.tenants():
        _check_store(root, one)
    _run(chosen, _Stores(root, flags, tables.store))


def server_settings(
    root: Path, tenant: str, tables: FileSettings, typed: ServerTable, models: RoleModels | None
) -> ServerSettings:
    """The settings of the server that options and a settings file describe.

    Raises:
        SettingsError: one of them cannot be.
    """
    from hoptrail.app.server.server_settings import ServerSettings

    table = tables.server
    body = {} if table.body_mb is None else {"body_bytes": int(table.body_mb * _MEGABYTE)}
    strategy = given(strategy=first(table.strategy, tables.ask.strategy))
    budget = budget_of(None, None, None, None, tables.budget)
    return ServerSettings(
        store=root,
        tenant=tenant,
        keys=tuple(_api_key(name, one, tenant, tables.budget) for name, one in table.keys.items()),
        models=models,
        budget=budget,
        run=run_settings(None, tables.ask),
        **{**over(table, typed, *_PLAIN), **body, **strategy},
    )


def _api_key(name: str, table: KeyTable, tenant: str, budget: BudgetTable) -> ApiKey:
    from hoptrail.app.server.server_settings import ApiKey

    chosen = {"tenant": tenant, **set_in(table, *_OF_KEY)}
    return ApiKey(name=name, hash=table.hash, budget=_budget(table, budget), **chosen)


def _budget(table: KeyTable, default: BudgetTable) -> Budget:
    """The budget of a key's questions: its own limits over the server's."""
    return budget_of(table.calls, table.tokens, table.searches, table.seconds, default)


class _Stores:
    """Opens the stores of tenants; those made with one embedder share it."""

    def __init__(self, root: Path, flags: StoreTable, table: StoreTable) -> None:
        self._root, self._flags, self._table = root, flags, table
        self._mutex = threading.Lock()
        self._embedders: dict[str, Any] = {}

    def __call__(self, tenant: str) -> KnowledgeBase:
        """The open store of a tenant."""
        from hoptrail.agents import KnowledgeBase

        recorded = spec_of(self._root, tenant).embedder
        with self._mutex:
            if recorded not in self._embedders:
                self._embedders[recorded] = embedder_of(
                    self._root, tenant, self._flags, self._table
                )
        return KnowledgeBase.open(
            self._root, tenant=tenant, embedder=self._embedders[recorded], keep_runs=False
        )


def _check_installed() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"hoptrail serve needs {', '.join(missing)}: pip install 'hoptrail[serve]'."
        )


def _check_store(root: Path, tenant: str) -> None:
    try:
        spec_of(root, tenant)
    except StoreMissing as error:
        raise StoreMissing(
            f"{error} A tenant of the server needs a store: hoptrail ingest FILE... --store "
            f"{root} --tenant {tenant}."
        ) from error


def _print_key(name: str, tenant: str | None) -> None:
    from hoptrail.app.server.auth import key_hash, new_key
    from hoptrail.app.server.server_settings import ApiKey

    if not name.replace("-", "").replace("_", "").isalnum() or not name.isascii():
        raise SettingsError(f"{name!r} is no name of a key: use letters, digits, - and _.")
    key = new_key()
    made = ApiKey(name=name, hash=key_hash(key), tenant=tenant or "default")
    note("The key is shown once; the settings file has only its hash:")
    say(key, "", f"[server.keys.{name}]", f'hash = "{made.hash}"', f'tenant = "{made.tenant}"')


def _run(chosen: ServerSettings, open_store: _Stores) -> None:
    from hoptrail.app.server.application import build_app
    from hoptrail.app.server.server_settings import is_loopback
    from hoptrail.app.server.uvicorn_server import run_server

    app = build_app(chosen, open_store)
    if not chosen.keys:
        note(
            "No API keys are set: the server answers this machine only. Make one with "
            "hoptrail serve --new-key NAME."
        )
    elif not is_loopback(chosen.host):
        note("Keys and answers go over plain HTTP: put a TLS proxy before the server.")
    note(f"Serving http://{chosen.host}:{chosen.port}/v1; Ctrl-C ends it.")
    run_server(app, chosen, note)
