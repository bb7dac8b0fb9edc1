"""The routes that watch a server: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from hoptrail.app.server.api_errors import ApiError, documented
from hoptrail.app.server.auth import Caller
from hoptrail.app.server.shared.context import context_of
from hoptrail.rag.errors import HoptrailError

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthy() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "It takes no questions at this moment."}})
async def ready(request: Request) -> JSONResponse:
    """Whether questions are taken: the first tenant's store opens, and the server is not ending."""
    context = context_of(request)
    status = "stopping" if context.gate.draining else "ready"
    try:
        async with context.tenants.reading(context.settings.tenants()[0]):
            pass
    except (HoptrailError, ApiError):
        status = "no store"
    return JSONResponse({"status": status}, 200 if status == "ready" else 503)


@router.get("/metrics", responses=documented(), response_class=PlainTextResponse)
async def metrics(request: Request, key: Caller) -> Response:
    """Counters for Prometheus, of all tenants together."""
    if not key.metrics:
        raise ApiError(
            403, "no_metrics", "This API key may not read the counters: set metrics = true."
        )
    context = context_of(request)
    context.metrics.in_flight.set(len(context.gate))
    context.metrics.open_stores.set(len(context.tenants))
    return Response(context.metrics.text(), media_type=CONTENT_TYPE_LATEST)
