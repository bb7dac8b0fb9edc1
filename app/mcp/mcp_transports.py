"""The transports of the MCP server: stdio, and streamable HTTP for loopback or behind a key."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import PlainTextResponse

from hoptrail.rag.errors import SettingsError

if TYPE_CHECKING:
    from mcp.server import Server
    from starlette.types import ASGIApp, Receive, Scope, Send

_MOST_BODY = 1 << 20
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_DRAIN_SECONDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAddress:
    """Where the server listens over HTTP, and for whom."""

    host: str
    port: int
    key: str | None = None
    """Clients must send it as a Bearer token. None: no key, and loopback only."""
    hosts: Sequence[str] = ()
    """Names, with or without a port, by which clients reach the server beside its own address."""
    origins: Sequence[str] = ()
    """Web pages that may call it, as browsers send `Origin`: http://localhost:3000."""

    def __post_init__(self) -> None:
        """Refuses to listen to other machines without a key."""
        if self.key is None and not self._local:
            raise SettingsError(
                f"The address {self.host!r} can be reached from other machines: give the file of "
                "a key that clients must send (--http-key-file), or listen on 127.0.0.1."
            )

    @property
    def _local(self) -> bool:
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def security(self) -> TransportSecuritySettings:
        """What `Host` and `Origin` a request may have."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        names = (*(_LOOPBACK if self._local else ()), own, *self.hosts)
        return TransportSecuritySettings(
            allowed_hosts=[name for one in names for name in (one, f"{one}:*")],
            allowed_origins=[
                *(f"http://{one}:*" for one in (_LOOPBACK if self._local else ())),
                *self.origins,
            ],
        )


def http_address(text: str, **rest: Any) -> HttpAddress:  # noqa: ANN401 (fields of HttpAddress)
    """The address that `HOST:PORT` spells.

    Raises:
        SettingsError: it is none, or needs a key.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise SettingsError(f"--http {text!r}: write HOST:PORT, such as 127.0.0.1:8765.")
    return HttpAddress(host=host.strip("[]"), port=int(port), **rest)


async def serve_stdio(server: Server[Any]) -> None:
    """Serves one client over stdin and stdout, until it closes them."""
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


async def serve_http(server: Server[Any], address: HttpAddress) -> None:
    """Serves clients over HTTP at `/mcp`, until the process is told to stop."""
    import uvicorn

    config = uvicorn.Config(
        http_app(server, address),
        host=address.host,
        port=address.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    await uvicorn.Server(config).serve()


def http_app(server: Server[Any], address: HttpAddress) -> ASGIApp:
    """The ASGI application, with the checks of host, origin and key."""
    app: ASGIApp = server.streamable_http_app(
        host=address.host,
        max_request_body_size=_MOST_BODY,
        transport_security=address.security(),
    )
    return app if address.key is None else _WithKey(app, address.key)


class _WithKey:
    """An ASGI application that asks each HTTP request for a key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._wanted = f"bearer {key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._has_key(scope):
            refusal = PlainTextResponse(
                "A key is needed: Authorization: Bearer KEY",
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        sent = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, key = sent.partition(b" ")
        return hmac.compare_digest(kind.lower() + b" " + key.strip(), self._wanted)
