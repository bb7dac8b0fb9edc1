"""What a caller sees when the real server dies, and that it can be had again.

A test may leave the chat server down: the next one that uses it gets it started again.
"""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from .server import Served, VllmServer, VllmServerError  # noqa: TID252 (see conftest.py)
from .talk import CHAT, ask, data_lines, request  # noqa: TID252

KILLED_CALLER = """
import os, pathlib, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
from vllm.server import Served, VllmServer

python = pathlib.Path(sys.argv[2])
server = VllmServer(Served(python=python, model=python, name="x"))

def die():
    while server._leash is None or not python.with_name("pid").exists():
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=die).start()
server.start()
"""


def test_a_server_killed_in_mid_answer_breaks_the_stream_and_comes_back(
    vllm_chat: VllmServer,
) -> None:
    url = vllm_chat.url
    body = request(max_tokens=2000, ignore_eos=True, stream=True)
    with vllm_chat.client() as client, client.stream("POST", CHAT, json=body) as response:
        lines = data_lines(response)
        next(lines)
        vllm_chat.kill()
        with pytest.raises(httpx.TransportError):
            list(lines)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
    vllm_chat.restart()
    assert vllm_chat.url == url
    with vllm_chat.client() as client:
        assert ask(client, request(max_tokens=2))["usage"]["completion_tokens"] == 2


def test_an_engine_that_dies_ends_the_stream_with_an_error_event(vllm_chat: VllmServer) -> None:
    """HTTP 200 long since sent, an event {"error": ...}, and still a [DONE] after it.

    For a moment /health says 503 and a request gets a 500 with the same error; then the server
    ends by itself and connections are refused.
    """
    body = request(max_tokens=2000, ignore_eos=True, stream=True)
    with vllm_chat.client() as client, client.stream("POST", CHAT, json=body) as response:
        lines = data_lines(response)
        next(lines)
        vllm_chat.kill_engine()
        *_, error, done = lines
    vllm_chat.kill()
    assert (response.status_code, done) == (200, "[DONE]")
    assert json.loads(error)["error"]["type"] == "InternalServerError"
    assert json.loads(error)["error"]["code"] == 500


def test_a_server_that_cannot_start_is_reported_at_once_with_its_own_words(
    tmp_path: Path,
) -> None:
    python = stand_in(tmp_path, "echo no such flag; exit 2")
    server = VllmServer(Served(python=python, model=tmp_path, name="x"))
    with pytest.raises(VllmServerError, match=r"status 2:\nno such flag"), server:
        pass
    assert not server.running


def test_the_server_does_not_outlive_a_caller_who_is_killed(tmp_path: Path) -> None:
    """The leash: without it engine and worker, 2 GB, would go on for good.

    A Python of its own starts a sleep in the server's place, then kills itself.
    """
    python = stand_in(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 600")
    tests = Path(__file__).parents[1]
    caller = subprocess.run(
        [sys.executable, "-c", KILLED_CALLER, str(tests), str(python)],
        env={"TMPDIR": str(tmp_path)},
        check=False,
    )
    assert caller.returncode == -signal.SIGKILL
    end = time.monotonic() + 60
    while sleeps(int((tmp_path / "pid").read_text())):
        assert time.monotonic() < end, "the server outlived its caller"
        time.sleep(0.1)


def stand_in(folder: Path, script: str) -> Path:
    """Return a `python` that runs a line of shell in the server's place."""
    python = folder / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o700)
    return python


def sleeps(pid: int) -> bool:
    """Whether the process is there, alive, and the `sleep` that the test had started."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")
    except OSError:
        return False
