"""Errors as the API shows them: OpenAI's shape, a remedy, never a path or a traceback."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from hoptrail.rag.errors import (
    EmbedderError,
    HoptrailError,
    ModelError,
    SettingsError,
    StoreBusy,
    StoreFull,
    StoreMissing,
    StoreReadOnly,
)

_LOG = logging.getLogger(__name__)
_RETRY_SECONDS = 5
_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_DIFY = {401: 1002, 404: 2001}
"""Codes of Dify's external knowledge API, by status."""
_SHOWN: tuple[tuple[type[HoptrailError], int, str, str], ...] = (
    (
        StoreBusy,
        503,
        "store_busy",
        "The documents are being written by another process: try again.",
    ),
    (StoreFull, 507, "store_full", "The disk of the server is full; nothing stored was lost."),
    (StoreReadOnly, 403, "store_read_only", "The documents can only be read here."),
    (StoreMissing, 503, "store_missing", "There are no documents yet: ingest some on the server."),
    (EmbedderError, 503, "embedder_failed", "The embedder does not answer: see the server's log."),
    (ModelError, 503, "model_failed", "The model does not answer: see the server's log."),
    (HoptrailError, 503, "store_failed", "The documents cannot be read: see the server's log."),
)


class ErrorDetail(BaseModel):
    """What is wrong, in OpenAI's fields."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """The body of every answer that is an error."""

    error: ErrorDetail


class ApiError(Exception):
    """An error that is shown to the client as it stands."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.param = status, code, message, param
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The JSON body."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        detail = ErrorDetail(
            message=self.message,
            type=_KINDS.get(self.status, kind),
            param=self.param,
            code=self.code,
        )
        return ErrorBody(error=detail).model_dump()


def overloaded(message: str) -> ApiError:
    """The error of a request that comes while all places are taken."""
    return ApiError(429, "overloaded", message, headers={"Retry-After": str(_RETRY_SECONDS)})


def shown_error(error: Exception) -> ApiError:
    """An exception as the client may see it; what it hides is logged."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, SettingsError) and "/" not in str(error).replace("http://", ""):
        return ApiError(400, "invalid_value", str(error))
    if isinstance(error, SettingsError):
        _LOG.warning("A request was refused: %s", error)
        return ApiError(400, "invalid_value", "The request cannot be served as it is.")
    for kind, status, code, message in _SHOWN:
        if isinstance(error, kind):
            _LOG.warning("A request failed: %s", error)
            headers = {"Retry-After": str(_RETRY_SECONDS)} if status == 503 else None
            return ApiError(status, code, message, headers=headers)
    _LOG.error("A request failed by a bug in hoptrail.", exc_info=error)
    return ApiError(500, "internal_error", "The server failed: its log says why.")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The answers with an error that a route may give, for the OpenAPI document."""
    every = (400, 401, 403, 408, 413, 429, 500, 503)
    return {
        status: {"model": ErrorBody, "description": HTTPStatus(status).phrase}
        for status in sorted({*every, *statuses})
    }


def add_handlers(app: FastAPI) -> None:
    """Has every error of an application answered in the API's shape."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, RequestValidationError):
            error = _malformed(error)
        elif isinstance(error, HTTPException):
            error = ApiError(
                error.status_code,
                HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"),
                f"{HTTPStatus(error.status_code).phrase}.",
                headers=error.headers,
            )
        shown = shown_error(error)
        body = shown.body()
        if request.url.path.endswith("/retrieval"):
            code = _DIFY.get(shown.status, shown.status)
            body |= {"error_code": code, "error_msg": shown.message}
        return JSONResponse(body, shown.status, headers=shown.headers)

    for kind in (ApiError, HoptrailError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)


def _malformed(error: RequestValidationError) -> ApiError:
    """A body that is no JSON, or has a wrong type somewhere: where, and what is wrong there."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    if first["type"] == "json_invalid":
        return ApiError(400, "invalid_json", "The body is no valid JSON.")
    if not place:
        return ApiError(
            400, "invalid_json", "The body is no JSON object: send one as application/json."
        )
    return ApiError(400, "invalid_type", f"{place}: {first['msg'].lower()}.", param=place)
