"""The HTTP server as tests use it: in this process, or on a port of loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.testclient import TestClient
from support.agents import QUESTION, open_chain

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.application import build_app
from hoptrail.app.server.auth import key_hash
from hoptrail.app.server.server_settings import ApiKey, ServerSettings
from hoptrail.app.server.uvicorn_server import DrainingServer
from hoptrail.rag.embedders.hashing import HashEmbedder

ASK = {"model": "hoptrail/pool", "messages": [{"role": "user", "content": QUESTION}]}
"""A request of the chat API about the chain of documents."""


def api_key(key: str, **fields: Any) -> ApiKey:  # noqa: ANN401
    """The key as a server knows it, named as itself."""
    return ApiKey(name=key, hash=key_hash(key), **fields)


def bearer(key: str) -> dict[str, str]:
    """The headers of a request with a key."""
    return {"Authorization": f"Bearer {key}"}


def open_any(root: Path) -> Callable[[str], KnowledgeBase]:
    """Opens the stores of tenants that were made with the hash embedder."""

    def opened(tenant: str) -> KnowledgeBase:
        if tenant == "default":
            return open_chain(root)
        return KnowledgeBase.open(root, tenant=tenant, embedder=HashEmbedder(), keep_runs=False)

    return opened


@contextmanager
def client_of(settings: ServerSettings) -> Iterator[TestClient]:
    """A client of a server in this process, whose errors are answers as in production."""
    app = build_app(settings, open_any(settings.store))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@contextmanager
def live_server(settings: ServerSettings) -> Iterator[str]:
    """The address of a server that listens on loopback, in a thread."""
    app = build_app(settings, open_any(settings.store))
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_config=None, timeout_graceful_shutdown=5
    )
    server = DrainingServer(config, app.state.gate, 5.0, lambda _: None)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


def until(holds: Callable[[], object], seconds: float = 60.0) -> None:
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def chunks_of(stream: str) -> list[dict[str, Any]]:
    """The objects of a stream, which must end with [DONE]."""
    datas = [line.removeprefix("data: ") for line in stream.split("\n\n") if line[:5] == "data:"]
    assert datas[-1] == "[DONE]"
    return [json.loads(one) for one in datas[:-1]]


def joined(chunks: Sequence[dict[str, Any]], field: str = "content") -> str:
    """What the chunks' deltas say in one field."""
    deltas = [choice["delta"] for one in chunks for choice in one.get("choices", ())]
    return "".join(delta.get(field) or "" for delta in deltas)
