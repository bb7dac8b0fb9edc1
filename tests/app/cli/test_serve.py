"""`hoptrail serve`: its settings, its keys, and what is said where it cannot begin."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import cli, error

from hoptrail.app.cli.commands import serve as serving
from hoptrail.app.cli.commands.serve import server_settings
from hoptrail.app.cli.settings import ServerTable, load_settings
from hoptrail.app.server.auth import key_hash
from hoptrail.app.server.server_settings import ServerSettings
from hoptrail.rag.errors import SettingsError

FILE = """
[store]
dir = "mine"
[ask]
strategy = "plan"
k = 7
[budget]
tokens = 5000
seconds = 50
[server]
host = "0.0.0.0"
questions = 3
body_mb = 0.5
links = ["https://wiki.example/"]
[server.keys.alice]
hash = "{hash}"
tenant = "alice"
write = true
tokens = 100
events = "on"
[server.keys.bob]
hash = "{other}"
source_list = false
"""


def described(folder: Path, text: str = FILE) -> ServerSettings:
    """The settings that a file describes."""
    path = folder / "h.toml"
    path.write_text(text.format(hash=key_hash("a"), other=key_hash("b")))
    tables = load_settings(path)
    return server_settings(folder / "mine", "main", tables, ServerTable(port=9000), None)


def test_a_file_gives_address_limits_and_keys(tmp_path: Path) -> None:
    made = described(tmp_path)
    assert (made.host, made.port, made.questions, made.body_bytes) == ("0.0.0.0", 9000, 3, 500_000)
    assert (made.strategy, made.run.k, made.links) == ("plan", 7, ("https://wiki.example/",))
    assert (made.budget.tokens, made.budget.seconds) == (5000, 50.0)
    alice, bob = made.keys
    assert (alice.name, alice.tenant, alice.write, alice.events) == ("alice", "alice", True, "on")
    assert alice.budget is not None
    assert (alice.budget.tokens, alice.budget.seconds) == (100, 50.0)
    assert (bob.tenant, bob.write, bob.source_list) == ("main", False, False)
    assert made.tenants() == ("alice", "main")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nhosts = 1", "Unknown key 'hosts' in \\[server\\].*did you mean 'host'"),
        ("[server.keys.a]\nhash = 'x'\nwrit = true", "Unknown key 'writ' in \\[server.keys.a\\]"),
        ("[server.keys]\na = 1", "'server.keys.a' in the settings file .* must be a table"),
        ("[server.keys.a]\nwrite = true", "hash = .* in \\[server.keys.a\\] .* is wrong"),
        ("[server.keys.a]\nhash = 'x'", "is no SHA-256"),
        ("[server]\nport = 'x'", "port = 'x' in \\[server\\]"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        described(tmp_path, text)


def test_a_new_key_is_shown_once_with_the_lines_of_its_hash(tmp_path: Path) -> None:
    made = cli("serve", "--new-key", "alice", "--tenant", "acme")
    key, _, *lines = made.stdout.splitlines()
    assert key.startswith("ht-")
    assert len(key) > 40
    assert key not in "\n".join(lines)
    (known,) = described(tmp_path, "\n".join(lines)).keys
    assert (known.name, known.hash, known.tenant) == ("alice", key_hash(key), "acme")
    assert "shown once" in made.stderr
    assert "is no name of a key" in error("serve", "--new-key", "a b", code=2)


def test_where_it_cannot_begin_a_line_says_why(tmp_path: Path, shared_store: Path) -> None:
    assert "hoptrail ingest" in error("serve", "--store", tmp_path / "none")
    assert "No store is named" in error("serve", code=2)
    line = error("serve", "--store", shared_store, "--host", "0.0.0.0", code=2)
    assert "hoptrail serve --new-key NAME" in line


def test_without_its_libraries_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, shared_store: Path
) -> None:
    monkeypatch.setattr(serving, "_NEEDED", ("fastapi", "not_there_at_all"))
    line = error("serve", "--store", shared_store, code=2)
    assert line == "error: hoptrail serve needs not_there_at_all: pip install 'hoptrail[serve]'."


def test_nothing_but_the_command_loads_the_server_s_libraries() -> None:
    code = (
        "import sys, hoptrail, hoptrail.app.cli.main, hoptrail.app.cli.commands.serve\n"
        "hoptrail.KnowledgeBase\n"
        "print([m for m in ('fastapi', 'starlette', 'uvicorn', 'prometheus_client') "
        "if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"
