"""Servers over the chain of documents, and over two tenants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.agents import make_chain
from support.cli import make_store
from support.server import api_key, client_of

from hoptrail.app.server.server_settings import ServerSettings

TENANTS = {
    "alpha": {"Heron": "The Heron was built at Alphaville by Ada Alpern in 1901."},
    "beta": {"Heron": "The Heron was built at Betaburg by Bert Bethmann in 1902."},
}
"""Documents of one id and different texts, by tenant."""


@pytest.fixture(scope="module")
def chain_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store of the chain, for tests that do not change documents."""
    return make_chain(tmp_path_factory.mktemp("server") / "store", graph="links")


@pytest.fixture(scope="module")
def client(chain_root: Path) -> Iterator[TestClient]:
    """A client of a server without keys and without a model."""
    with client_of(ServerSettings(store=chain_root)) as opened:
        yield opened


@pytest.fixture(scope="module")
def tenants_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stores of two tenants."""
    root = tmp_path_factory.mktemp("tenants") / "store"
    for tenant, texts in TENANTS.items():
        make_store(root, texts, tenant=tenant)
    return root


@pytest.fixture(scope="module")
def shared(tenants_root: Path) -> Iterator[TestClient]:
    """A client of a server of two tenants, each with a key that may write, named as it."""
    keys = tuple(
        api_key(f"key-{tenant}", tenant=tenant, write=True, metrics=tenant == "alpha")
        for tenant in TENANTS
    )
    with client_of(ServerSettings(store=tenants_root, keys=keys)) as opened:
        yield opened
