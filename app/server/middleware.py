"""ASGI middleware: bounds of a request's body, and the count of requests by route."""

from __future__ import annotations

import asyncio

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hoptrail.app.server.api_errors import ApiError
from hoptrail.app.server.shared.counters import Metrics


class BodyLimit:
    """ASGI middleware that reads the whole body before the application sees it.

    Args:
        app: the application.
        most: bytes of a body.
        seconds: until it is there.
    """

    def __init__(self, app: ASGIApp, *, most: int, seconds: float) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on with its body, or answers 413 or 408 itself."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ApiError as error:
            headers = {"Connection": "close"}  # what is still to come of the body is not read
            await JSONResponse(error.body(), error.status, headers=headers)(scope, receive, send)
            return
        if body is None:  # the client went away
            return
        given = False

        async def replayed() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replayed, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._most:
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > self._most:
                        raise self._too_large()
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise ApiError(408, "too_slow", "The body did not arrive in time.") from None

    def _too_large(self) -> ApiError:
        return ApiError(413, "too_large", f"The body is above {self._most:,} bytes.")


class CountRequests:
    """ASGI middleware that counts requests by the pattern of their route, and by status."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on."""

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-content-type-options", b"nosniff")]
                path = getattr(scope.get("route"), "path", "other")
                self._metrics.requests.labels(route=path, status=message["status"]).inc()
            await send(message)

        await self._app(scope, receive, counted if scope["type"] == "http" else send)
