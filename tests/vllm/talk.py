"""Plain HTTP with the chat server, for the tests of the server itself."""

import time
from collections.abc import Iterator
from typing import Any

import httpx

from .server import VllmServer  # noqa: TID252 (see conftest.py)

Json = dict[str, Any]

CHAT = "/v1/chat/completions"


def request(text: str = "Which way?", **fields: object) -> Json:
    """Return a chat request of one user message."""
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **fields}


def ask(client: httpx.Client, body: Json) -> Json:
    """Return the answer to a request that must succeed."""
    response = client.post(CHAT, json=body)
    assert response.status_code == 200, response.text
    answer: Json = response.json()
    return answer


def refused(client: httpx.Client, body: Json, status: int) -> Json:
    """Return the error object of a request that must be refused with `status`."""
    response = client.post(CHAT, json=body)
    assert response.status_code == status, response.text
    error: Json = response.json()["error"]
    return error


def data_lines(response: httpx.Response) -> Iterator[str]:
    """Yield what follows `data: ` in each event of a stream."""
    for line in response.iter_lines():
        if line:
            assert line.startswith("data: ")
            yield line.removeprefix("data: ")


def wait_until_idle(server: VllmServer) -> None:
    """Return when no request runs or waits; fail after a minute."""
    end = time.monotonic() + 60
    while server.metrics()["num_requests_running"] or server.metrics()["num_requests_waiting"]:
        assert time.monotonic() < end, "a request still runs"
        time.sleep(0.1)
