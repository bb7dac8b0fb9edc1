"""The context of a server: what its requests share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from starlette.requests import HTTPConnection

from hoptrail.agents.budget.quota import Quota
from hoptrail.agents.runs.models import RoleModels
from hoptrail.app.server.server_settings import ApiKey, ServerSettings
from hoptrail.app.server.shared.counters import Metrics
from hoptrail.app.server.shared.gate import Gate
from hoptrail.app.server.shared.jobs import Jobs
from hoptrail.app.server.shared.receipt_store import ReceiptStore
from hoptrail.app.server.shared.tenants import Tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContext:
    """What the requests of a server share; each reaches only its own tenant's part."""

    settings: ServerSettings
    tenants: Tenants
    gate: Gate
    quotas: dict[str, Quota]
    """By name of the key; a key without limits has none."""
    models: RoleModels | None
    """The served models, opened once; None: the local players."""
    receipts: ReceiptStore
    jobs: Jobs
    metrics: Metrics
    local: ApiKey
    """Stands for this machine where there are no keys."""


def base_of(request: HTTPConnection) -> str:
    """The server's address as clients reach it, without a slash at its end."""
    return (context_of(request).settings.public_url or str(request.base_url)).rstrip("/")


def context_of(request: HTTPConnection) -> ServerContext:
    """The context of the server that a request came to."""
    return cast(ServerContext, request.app.state.context)
