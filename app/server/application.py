"""The application: routes, errors, bounds and the life of what requests share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from hoptrail.agents.budget.quota import Quota
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.agents.llm.served_model import AnyModel, ModelClient, ServedModel
from hoptrail.agents.runs.models import RoleModels
from hoptrail.app.server import health
from hoptrail.app.server.api_errors import add_handlers
from hoptrail.app.server.chat import completions
from hoptrail.app.server.chat.question import questions_ended
from hoptrail.app.server.documents import document_routes, search_routes
from hoptrail.app.server.middleware import BodyLimit, CountRequests
from hoptrail.app.server.server_settings import ApiKey, ServerSettings
from hoptrail.app.server.shared.context import ServerContext
from hoptrail.app.server.shared.counters import Metrics
from hoptrail.app.server.shared.gate import Gate
from hoptrail.app.server.shared.jobs import Jobs
from hoptrail.app.server.shared.receipt_store import ReceiptStore
from hoptrail.app.server.shared.tenants import Tenants
from hoptrail.rag.errors import ModelError

_LOG = logging.getLogger(__name__)
_DESCRIPTION = "Answers questions from your own documents, with a receipt for every answer."


def build_app(
    settings: ServerSettings, open_store: Callable[[str], KnowledgeBase] | None = None
) -> FastAPI:
    """The application of a server.

    Args:
        settings: see there.
        open_store: opens a tenant's store; None: below the settings' folder, with the embedder
            that it records.
    """

    def opened(tenant: str) -> KnowledgeBase:
        return KnowledgeBase.open(settings.store, tenant=tenant, keep_runs=False)

    tenants = Tenants(open_store or opened, settings.open_stores)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(tenants.close)
            stack.push_async_callback(questions_ended)
            jobs = Jobs(tenants, document_routes.store_documents, settings.queued_jobs)
            stack.push_async_callback(jobs.close)
            app.state.context = ServerContext(
                settings=settings,
                tenants=tenants,
                gate=app.state.gate,
                quotas=_quotas(settings.keys),
                models=await _opened_models(stack, settings.models),
                receipts=ReceiptStore(settings.store, settings.receipts),
                jobs=jobs,
                metrics=metrics,
                local=_local_key(settings),
            )
            yield

    app = FastAPI(
        title="hoptrail", description=_DESCRIPTION, version=version("hoptrail"),
        lifespan=lifespan, docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.gate = Gate(settings.questions)
    add_handlers(app)
    for router in (completions.router, document_routes.router, search_routes.router, health.router):
        app.include_router(router)
    app.add_middleware(BodyLimit, most=settings.body_bytes, seconds=settings.body_seconds)
    app.add_middleware(CountRequests, metrics=metrics)
    return app


def _local_key(settings: ServerSettings) -> ApiKey:
    """The key that stands for this machine where there are none: it may do everything."""
    return ApiKey(
        name="local",
        hash="",
        tenant=settings.tenant,
        write=True,
        metrics=True,
        questions=settings.questions,
    )


def _quotas(keys: tuple[ApiKey, ...]) -> dict[str, Quota]:
    """The quota of each key that has limits a minute."""
    return {
        key.name: Quota(
            tokens_per_minute=key.tokens_per_minute, calls_per_minute=key.calls_per_minute
        )
        for key in keys
        if key.tokens_per_minute is not None or key.calls_per_minute is not None
    }


async def _opened_models(stack: AsyncExitStack, models: RoleModels | None) -> RoleModels | None:
    """The served models, each server opened once for all runs.

    One that does not answer yet is no reason not to begin: each run asks it again.
    """
    if models is None:
        return None
    clients: dict[ServedModel, ModelClient] = {}

    async def opened(model: AnyModel | None) -> AnyModel | None:
        if not isinstance(model, ServedModel):
            return model
        if model not in clients:
            clients[model] = ModelClient(model)
            stack.push_async_callback(clients[model].aclose)
            try:
                await clients[model].open()
            except ModelError as error:
                _LOG.warning("%s Until it does, questions are answered with status 503.", error)
        return clients[model]

    roles: Mapping[str, Any] = {
        name: replace(role, model=await opened(role.model)) for name, role in models.roles.items()
    }
    return RoleModels(default=await opened(models.default), roles=roles)
