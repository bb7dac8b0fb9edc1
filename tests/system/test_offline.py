"""The whole road without a network, under settings that would send traces somewhere."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.cli import COMMAND, TEXTS, make_store, process, records

from hoptrail.agents import Receipt

UNSHARE = ("unshare", "--map-root-user", "--net")


def tracing(endpoint: str) -> dict[str, str]:
    """What switches tracing on in the libraries beneath."""
    return {
        "LANGSMITH_TRACING": "true",
        "LANGCHAIN_TRACING_V2": "true",
        "LANGSMITH_API_KEY": "x",
        "LANGSMITH_ENDPOINT": endpoint,
        "LANGCHAIN_ENDPOINT": endpoint,
        "LANGSMITH_OTEL_ENABLED": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_SDK_DISABLED": "false",
        "ANONYMIZED_TELEMETRY": "true",
    }


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "Nightjar.txt").write_text(TEXTS["Nightjar"])
    (folder / "Quillane.md").write_text(f"# Quillane\n\n{TEXTS['Quillane']}")
    (folder / "Altar.html").write_text(
        f"<html><head><title>Altar</title><link rel=stylesheet href=http://192.0.2.1/a.css>"
        f"</head><body><img src=http://192.0.2.1/a.png><p>{TEXTS['Altar']}</body></html>"
    )
    return folder


def may_unshare() -> bool:
    """Whether this machine lets us make a namespace without a network."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode == 0


def alone(*arguments: object, env: Mapping[str, str]) -> str:
    """Runs a command in a namespace that has no network; returns what it prints."""
    run = subprocess.run(
        [*UNSHARE, *COMMAND, *(str(one) for one in arguments)],
        check=False, capture_output=True, text=True, timeout=240, env={**os.environ, **env},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_ingest_ask_and_replay_without_a_network(documents: Path, tmp_path: Path) -> None:
    if not may_unshare():
        pytest.skip("needs `unshare` and the permission to make a network namespace")
    env = tracing("http://192.0.2.1:4318")
    store, recording = tmp_path / "store", tmp_path / "run.jsonl"
    events = records(alone("ingest", documents, "--store", store, "--json", env=env))
    assert {event["event"] for event in events} == {"committed", "report"}
    assert len(events) == 4
    asked = alone(
        "ask", "Who carved the altar?", "--store", store, "--record", recording, "--json", env=env
    )
    receipt = Receipt.parse(asked)
    assert receipt.outcome.kind == "quotes"
    assert any("Lars Omdrey" in item.quote for item in receipt.evidence)
    shutil.rmtree(store)
    (replayed,) = records(alone("replay", recording, "--json", env=env))
    assert replayed["same"] is True


@pytest.fixture
def collector() -> Iterator[tuple[str, list[bytes]]]:
    """A trace collector on loopback, and the first bytes of whoever came."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def listen() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(200))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{port}", heard
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def test_nothing_is_sent_to_a_trace_collector(
    collector: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    endpoint, heard = collector
    make_store(tmp_path / "store", TEXTS)
    run = process(
        "ask", "Who carved the altar?", "--store", tmp_path / "store", env=tracing(endpoint)
    )
    assert run.returncode == 0, run.stderr
    assert "Lars Omdrey" in run.stdout
    assert heard == []
    with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as probe:
        probe.sendall(b"hello")
        probe.shutdown(socket.SHUT_WR)
        probe.recv(1)
    assert heard == [b"hello"]
