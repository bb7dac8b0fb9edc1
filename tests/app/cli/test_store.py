"""search, delete, fsck, compact and stats, as they are typed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from support.cli import TEXTS, cli, error, make_store, process, records

from hoptrail.rag.store.store import Store


@pytest.mark.parametrize("mode", ["hybrid", "lexical", "dense"])
def test_search_finds_exact_characters(store: Path, mode: str) -> None:
    result = cli("search", "who carved the altar", "--store", store, "--mode", mode, "--json")
    assert result.exit_code == 0
    (found,) = records(result.stdout)
    assert (found["query"], found["generation"]) == ("who carved the altar", 1)
    first = found["hits"][0]
    assert first["document_id"] == first["title"] == "Altar"
    assert TEXTS["Altar"][first["start"] : first["end"]] == first["text"]
    assert first["rank"] == 1


def test_search_for_people(store: Path) -> None:
    result = cli("search", "Nightjar lamp", "--store", store, "-k", "1")
    assert result.stdout.splitlines()[0].startswith(" 1. Nightjar  (Nightjar 0:72)")
    assert "launched in 1894" in result.stdout


def test_search_through_a_filter(store: Path) -> None:
    (found,) = records(
        cli("search", "harbour", "--store", store, "--where", "n=2", "--json").stdout
    )
    assert [hit["document_id"] for hit in found["hits"]] == ["Altar"]


def test_search_that_finds_nothing_says_so(store: Path) -> None:
    result = cli("search", "zeppelin", "--store", store, "--mode", "lexical")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "nothing found\n"


def test_a_search_by_words_needs_no_weights(tmp_path: Path) -> None:
    make_store(tmp_path / "s", TEXTS)
    result = process("search", "altar", "--store", tmp_path / "s", "--mode", "lexical", "--json")
    assert records(result.stdout)[0]["hits"][0]["document_id"] == "Altar"


def test_search_shows_control_characters_and_does_not_obey_them(tmp_path: Path) -> None:
    make_store(tmp_path / "s", {"a\x1b[2Jb": "red \x1b[31m herring \x9b1m\u202e"})
    result = cli("search", "herring", "--store", tmp_path / "s")
    assert "herring" in result.stdout
    assert not set(result.stdout) & set("\x1b\x9b\u202e")


def test_search_takes_its_settings_from_a_file(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "h.toml"
    path.write_text('[store]\ndir = "store"\n[search]\nk = 1\nmode = "lexical"')
    (found,) = records(cli("search", "Quillane", "--settings", path, "--json").stdout)
    assert len(found["hits"]) == 1
    (found,) = records(cli("search", "Quillane", "--settings", path, "-k", 2, "--json").stdout)
    assert len(found["hits"]) == 2


def test_tenants_do_not_see_each_other(store: Path) -> None:
    make_store(store, {"Secret": "The altar is of gold."}, tenant="anna")
    (mine,) = records(cli("search", "altar gold", "--store", store, "--json").stdout)
    assert "Secret" not in {hit["document_id"] for hit in mine["hits"]}
    (hers,) = records(
        cli("search", "altar gold", "--store", store, "--tenant", "anna", "--json").stdout
    )
    assert {hit["document_id"] for hit in hers["hits"]} == {"Secret"}


def test_delete_says_what_it_deleted_and_what_is_unknown(store: Path) -> None:
    result = cli("delete", "Altar", "Nix", "Altar", "--store", store, "--json")
    assert result.exit_code == 1
    assert records(result.stdout) == [
        {"event": "deleted", "id": "Altar", "generation": 2},
        {"event": "unknown", "id": "Nix", "near": []},
    ]
    assert result.stderr == "error: There is no document 'Nix'.\n"
    with Store.open(store) as opened:
        assert sorted(opened.documents()) == ["Nightjar", "Quillane"]
    assert cli("delete", "Quillane", "--store", store).stdout == "deleted Quillane\n"


def test_delete_names_the_ids_that_may_be_meant(tmp_path: Path) -> None:
    ids = ("notes/old.txt", "papers/old.txt", "b.md")
    store = make_store(tmp_path, dict.fromkeys(ids, "Text."))
    line = error("delete", "old.txt", "--store", store)
    assert line.endswith("no document 'old.txt'. Is 'notes/old.txt' or 'papers/old.txt' meant?")
    line = error("delete", "papers/odl.txt", "--store", store)
    assert line.endswith("Is 'papers/old.txt' or 'notes/old.txt' meant?")
    assert error("delete", "quite else", "--store", store).endswith("no document 'quite else'.")


@pytest.mark.parametrize("command", ["search", "delete", "ask"])
def test_an_empty_name_is_refused_and_not_the_default(store: Path, command: str) -> None:
    line = error(command, "Altar", "--store", store, "--tenant", "", code=2)
    assert line.startswith("error: '' is no tenant name")
    if command == "ask":
        for option in ("--strategy", "--mode", "--model"):
            assert cli(command, "Altar", "--store", store, option, "").exit_code == 2, option
    if command == "search":
        for option in ("--mode", "--embedder"):
            assert cli(command, "Altar", "--store", store, option, "").exit_code != 0, option


def test_stats_have_the_promised_keys(store: Path) -> None:
    (found,) = records(cli("stats", store, "--json").stdout)
    assert (found["documents"], found["passages"], found["generation"]) == (3, 3, 1)
    assert (found["embedder"], found["lexical"], found["dense"]) == ("hash-64", "tantivy", "exact")
    assert "documents   3\n" in cli("stats", store).stdout


def test_fsck_is_clean_until_something_breaks_and_repairs_it(store: Path) -> None:
    assert cli("fsck", store).stdout == "clean: 3 documents, 3 passages, generation 1\n"
    (vectors,) = (store / "default").glob("vectors-*")
    vectors.write_bytes(b"\xff" * vectors.stat().st_size)
    broken = cli("fsck", store, "--json")
    assert broken.exit_code == 1
    (report,) = records(broken.stdout)
    assert not report["clean"]
    assert {problem["kind"] for problem in report["problems"]} == {"dense"}
    assert "(--repair mends it)" in cli("fsck", store).stdout
    mended = cli("fsck", store, "--repair")
    assert mended.exit_code == 0
    assert "repaired: " in mended.stdout
    assert cli("fsck", store).exit_code == 0


def test_fsck_names_a_damaged_document_once(store: Path) -> None:
    with sqlite3.connect(store / "default" / "catalogue.db") as connection:
        connection.execute("UPDATE documents SET title = 'Alter' WHERE id = 'Altar'")
        connection.execute("UPDATE passages SET text = 'x' WHERE doc = 0")
    connection.close()
    lines = cli("fsck", store).stdout.splitlines()
    assert any(line.startswith("document: document 'Altar': its content has") for line in lines)
    assert any(line.startswith("passage: document 'Nightjar': passage ") for line in lines)
    assert all(line.count("document '") <= 1 for line in lines)
    lines = cli("fsck", store, "--repair").stdout.splitlines()
    assert any(line.startswith("repaired: document 'Nightjar': passage ") for line in lines)


def test_compact_keeps_what_is_alive(store: Path) -> None:
    cli("delete", "Altar", "--store", store)
    (said,) = records(cli("compact", store, "--json").stdout)
    assert said["event"] == "compacted"
    assert said["bytes"] > 0 < said["bytes_before"]
    assert cli("compact", store).stdout.startswith("compacted ")
    assert cli("fsck", store).stdout == "clean: 2 documents, 2 passages, generation 2\n"


def test_another_embedder_than_the_stores_is_refused(store: Path) -> None:
    line = error("search", "x", "--store", store, "--embedder", "hash-32")
    assert "was made with the embedder 'hash-64' (64 dimensions), not 'hash-32' (32)" in line


def test_help_names_every_command_and_the_version_is_the_packages() -> None:
    shown = cli("--help").stdout
    for command in ("search", "delete", "fsck", "compact", "stats"):
        assert f"\n  {command} " in shown
    assert cli("--version").stdout.startswith("hoptrail 0.")
    assert cli("search").exit_code == 2


def test_a_reader_that_goes_away_is_no_error_of_ours(store: Path) -> None:
    import shlex
    import subprocess

    from support.cli import COMMAND

    line = shlex.join([*COMMAND, "search", "Quillane", "--store", str(store), "--mode", "lexical"])
    run = subprocess.run(
        ["bash", "-c", f"{line} | true"], check=False, capture_output=True, text=True, timeout=60
    )
    assert "Traceback" not in run.stderr
    assert "Exception" not in run.stderr


def test_a_bug_keeps_its_traceback_and_asks_to_be_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store: Path
) -> None:
    from hoptrail.app.cli import main

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(Store, "stats", broken)
    monkeypatch.setattr("sys.argv", ["hoptrail", "stats", str(store)])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 1
    said = capsys.readouterr().err
    assert "ZeroDivisionError: a slip" in said
    assert "Please report it" in said.splitlines()[-1]
