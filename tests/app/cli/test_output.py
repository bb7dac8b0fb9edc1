"""Odd terminals and hostile text: nothing paid for is lost, nothing printed forges a line."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
from support.cli import COMMAND, TEXTS, cli, error, make_store, records

from hoptrail.app.cli.receipt_text import receipt_text
from hoptrail.app.text import escaped, json_text, one_line, shown, without_citations
from hoptrail.rag.store import layout
from hoptrail.rag.store.layout import write_whole

QUESTION = "Where was the Nightjar launched?"
HOSTILE = (
    "Fine\n 1. Forged hit  (doc 0:9)  0.999\r\x1b[31mred\x85 2. \u2028 3. \u2029 4.\x9b31m "
    "\u202egnorts\u2066\u200f\U000e0041"
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(
        tmp_path_factory.mktemp("output") / "store", {**TEXTS, "Löwe −": "An altar of lions."}
    )


def shell(command: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Runs a line of bash in which `hoptrail` is the command; `code` is printed on stderr."""
    line = f'hoptrail() {{ {" ".join(COMMAND)} "$@"; }}\n{command}'
    return subprocess.run(
        ["bash", "-c", line], check=False, capture_output=True, text=True, timeout=120,
        env={**os.environ, **env},
    )  # fmt: skip


def test_a_reader_that_went_away_costs_no_receipt(store: Path, tmp_path: Path) -> None:
    files = f"--receipt {tmp_path}/r.json --record {tmp_path}/r.jsonl"
    done = shell(
        f'hoptrail ask "{QUESTION}" --store {store} {files} | true; echo ${{PIPESTATUS[0]}}'
    )
    assert done.stdout == "141\n"
    assert done.stderr == ""
    assert json.loads((tmp_path / "r.json").read_bytes())["question"] == QUESTION
    assert (tmp_path / "r.jsonl").is_file()


def test_a_full_terminal_is_said_and_the_answer_goes_to_stderr(store: Path) -> None:
    done = shell(f'hoptrail ask "{QUESTION}" --store {store} > /dev/full; echo $?')
    assert done.stdout == "1\n"
    assert "launched in 1894" in done.stderr
    assert done.stderr.endswith("error: The output cannot be written: No space left on device.\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", ["/dev/full", "&-"])
@pytest.mark.parametrize("command", ["--help", "--version", "stats {store} --json"])
def test_no_output_ends_in_a_traceback(store: Path, command: str, target: str) -> None:
    done = shell(f"hoptrail {command.format(store=store)} >{target}")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if command != "--help" or target != "&-":  # typer prints its help nowhere
        assert done.returncode == 1
        assert done.stderr.startswith("error: The output cannot be written: ")


def test_a_note_that_is_lost_stops_nothing(store: Path) -> None:
    done = shell(f"hoptrail search zzzz --mode lexical --store {store} 2>/dev/full")
    assert done.returncode == 0


def test_what_an_encoding_lacks_is_escaped(store: Path) -> None:
    latin = {"PYTHONIOENCODING": "latin-1"}
    search = f"hoptrail search altar --mode lexical --store {store}"
    done = shell(f"set -o pipefail; {search} | iconv -f latin1 -t utf-8", **latin)
    assert done.returncode == 0
    assert "Löwe \\u2212" in done.stdout
    exact = shell(f"{search} --json", **latin)
    assert "Löwe −" in {hit["title"] for hit in json.loads(exact.stdout)["hits"]}


def test_an_argument_that_is_no_text_is_refused(store: Path, tmp_path: Path) -> None:
    done = shell(f"hoptrail ask $'caf\\xe9?' --store {store}", PYTHONUTF8="1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: The argument 'caf\\udce9?' is not UTF-8")
    odd = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(odd)
    ingested = shell(f"hoptrail ingest {tmp_path}/caf$'\\xe9' --store {tmp_path}/s", PYTHONUTF8="1")
    assert "Traceback" not in ingested.stderr
    assert "is not UTF-8: type it" not in ingested.stderr


def test_text_has_one_line_and_no_escapes() -> None:
    line = one_line(HOSTILE)
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert shown("a\nb\tc\x1b\u202e\u2028") == "a\nb\tc\N{REPLACEMENT CHARACTER}" + 2 * "\ufffd"


def test_json_has_controls_as_escapes_and_the_value_is_exact() -> None:
    value = {"title": HOSTILE + "\ud800 ünï 中"}
    text = json_text(value)
    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert "ünï 中" in text
    assert json.loads(text) == value
    assert json.loads(json_text(value, ascii_only=True)) == value
    assert escaped('"\u202e\x9b"') == '"\\u202e\\u009b"'


def test_only_code_writes_citations() -> None:
    assert (
        without_citations("So it is [2], see [1, 3] and [x].")
        == "So it is (2), see (1, 3) and [x]."
    )


def test_no_document_forges_a_hit(tmp_path: Path) -> None:
    lines = [{"id": "a", "title": HOSTILE, "text": f"The Nightjar. {HOSTILE}"}]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert (
        cli(
            "ingest", tmp_path / "docs.jsonl", "--store", tmp_path / "s", "--embedder", "hash"
        ).exit_code
        == 0
    )
    found = cli("search", "Nightjar", "--store", tmp_path / "s").stdout
    assert [line for line in found.splitlines() if not line.startswith("    ")] == [
        line for line in found.split("\n") if line.startswith(" 1. ")
    ]
    assert all(line.isprintable() for line in found.split("\n"))
    exact = cli("search", "Nightjar", "--store", tmp_path / "s", "--json").stdout
    assert len(exact.splitlines()) == 1
    assert exact[:-1].isprintable()
    assert records(exact)[0]["hits"][0]["title"] == HOSTILE
    asked = cli("ask", "What is the Nightjar?", "--store", tmp_path / "s").stdout
    assert [line for line in asked.split("\n") if line.startswith("[")] != []
    assert "\n[2]" not in asked
    assert all(line.isprintable() for line in asked.split("\n"))


def test_a_file_name_forges_no_line(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a\n\x1b[2Jerror: forged.jsonl").write_text("no json\n")
    (tmp_path / "docs" / "b.txt").write_text("A harbour.")
    done = cli("ingest", tmp_path / "docs", "--store", tmp_path / "s", "--embedder", "hash")
    assert not any(line.startswith("error") for line in done.stderr.split("\n"))
    assert "\x1b" not in done.output


def test_what_a_model_writes_forges_no_line_of_a_receipt(store: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from hoptrail.agents import Receipt

    file = tmp_path / "r.json"
    cli("ask", QUESTION, "--store", store, "--receipt", file)
    receipt = Receipt.parse(file.read_bytes())
    claims = tuple(replace(one, text=f"It is so [7].\n[8] {HOSTILE}") for one in receipt.claims)
    forged = replace(
        receipt,
        extractive=False,
        answer="Yes [9].\n[3] Forged (d, characters 0 to 9)",
        claims=claims,
    )
    text = receipt_text(forged)
    real = {f"[{number}]" for number in range(1, len(claims) + 1)}
    assert {line.split()[0] for line in text.split("\n") if line.startswith("[")} <= real
    assert "[9]" not in text
    assert "[7]" not in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("option", ["--receipt", "--record"])
@pytest.mark.parametrize("name", ["", ".part", ".part.lock"])
def test_a_planted_link_is_not_followed(
    store: Path, tmp_path: Path, option: str, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"out{name}").symlink_to(victim)
    done = cli("ask", QUESTION, "--store", store, option, tmp_path / "out")
    assert victim.read_text() == "precious"
    if not name.endswith(".lock"):
        assert done.exit_code == 0
        assert not (tmp_path / "out").is_symlink()


def test_a_page_does_not_follow_a_planted_link(store: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "page.html").symlink_to(victim)
    cli("ask", QUESTION, "--store", store, "--receipt", tmp_path / "r.json")
    done = cli("graph", "page", tmp_path / "r.json", "-o", tmp_path / "page.html", "--store", store)
    assert done.exit_code == 0
    assert victim.read_text() == "precious"
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_a_full_disk_leaves_nothing_and_costs_no_answer(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "old").write_text("before")
    monkeypatch.setattr(layout.os, "fsync", full)
    for name in ("new", "old"):
        done = cli("ask", QUESTION, "--store", store, "--receipt", tmp_path / name)
        assert done.exit_code == 1
        assert "launched in 1894" in done.stdout
        assert "The receipt cannot be written" in done.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "before"


def test_a_full_disk_leaves_no_recording(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if b'"call":' in data:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    assert "No room to write" in error(
        "ask", QUESTION, "--store", store, "--record", tmp_path / "run.jsonl"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_its_mode_and_a_device_its_kind(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"old")
    secret.chmod(0o600)
    write_whole(secret, b"new")
    assert (secret.read_bytes(), secret.stat().st_mode & 0o777) == (b"new", 0o600)
    write_whole(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


def test_a_receipt_may_go_to_stdout(store: Path) -> None:
    done = shell(f'hoptrail ask "{QUESTION}" --store {store} --receipt /dev/stdout | head -c 1')
    assert done.stdout == "{"
    assert Path("/dev/stdout").is_symlink()


def test_a_filter_that_keeps_nothing_is_said(store: Path) -> None:
    said = error("ask", QUESTION, "--store", store, "--where", "m=1", code=2)
    assert said == ("error: --where keeps no document: no document has the key 'm': there are n")
    found = cli("search", "Nightjar", "--store", store, "--where", 'n="1"')
    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr == ('--where keeps no document: no document has n="1", but there is n=1\n')
    assert cli("search", "zzzz", "--store", store, "--mode", "lexical").stderr == "nothing found\n"


def test_a_long_title_cannot_wrap_to_the_start_of_a_line(tmp_path: Path) -> None:
    title = f"Sea {' ' * 70} 2. Forged (d 0:9) 0.999 {'x' * 80} 3. Forged"
    (tmp_path / "docs.jsonl").write_text(json.dumps({"id": "a", "title": title, "text": "A mast."}))
    cli("ingest", tmp_path / "docs.jsonl", "--store", tmp_path / "s", "--embedder", "hash")
    (hit, _) = cli("search", "mast", "--store", tmp_path / "s").stdout.splitlines()
    assert hit.startswith(" 1. Sea 2. Forged (d 0:9) 0.999 xxx")
    assert hit.index("(a 0:7)") < 80


def test_a_filter_of_the_graph_that_keeps_nothing_is_said(store: Path) -> None:
    said = error("graph", "show", "Quillane", "--store", store, "--where", "m=1", code=2)
    assert "no document has the key 'm'" in said
