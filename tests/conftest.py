"""What holds in every test: no socket but loopback, no tracing, the same examples every time."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import hypothesis
import pytest
from support.paths import WORLD

for variable in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2", "OTEL_EXPORTER_OTLP_ENDPOINT"):
    os.environ.pop(variable, None)

# A test that fails fails for everybody. To look further: pytest --hypothesis-profile=default
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("steady")


class NetworkForbidden(AssertionError):
    """A test tried to leave the machine."""


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets connect to loopback and Unix paths only."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def check(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX:
            return
        host = address[0] if isinstance(address, tuple) else address
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise NetworkForbidden(f"a test tried to connect to {address!r}")

    def guarded(self: socket.socket, address: object) -> None:
        check(self, address)
        connect(self, address)  # type: ignore[arg-type]

    def guarded_ex(self: socket.socket, address: object) -> int:
        check(self, address)
        return connect_ex(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)


@pytest.fixture(scope="session")
def world() -> Path:
    """The example corpus that ships with the product."""
    return WORLD


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The shared data sets; skips where they are absent."""
    folder = os.environ.get("HOPTRAIL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs the shared data sets: set HOPTRAIL_DATA to their folder")
    return Path(folder)
