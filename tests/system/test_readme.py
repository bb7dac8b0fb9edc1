"""The README is true: its output, its commands, its program and its file tree."""

from __future__ import annotations

import importlib
import json
import re
import shlex
from pathlib import Path

import pytest
from support.cli import cli
from support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


GROUPS = ("graph", "tree")
"""Commands that have commands of their own."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def test_it_begins_with_the_two_commands_and_real_output_by_line_30() -> None:
    assert README.startswith("# hoptrail\n\n```sh\nmake demo ")
    head = README.splitlines()[:30]
    assert any(line.startswith("make test") for line in head)
    assert any(line.startswith("[1] ") for line in head)


def test_its_answer_is_the_demos_and_its_quotes_stand_in_the_corpus(world: Path) -> None:
    shown = blocks("text")[0]
    question = (ROOT / "examples" / "question.txt").read_text().strip()
    assert f'$ hoptrail ask "{question}"' in shown
    lines = (world / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    texts = {record["id"]: record["text"] for record in map(json.loads, lines)}
    quotes = re.findall(
        r"^\[\d\] .*\((\S+), characters (\d+) to (\d+)\)\n((?:    .*\n)+)", shown, re.M
    )
    assert quotes
    for identifier, start, end, quote in quotes:
        assert quote.split() == texts[identifier][int(start) : int(end)].split()


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("hoptrail ")]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_its_commands_and_their_options_exist(words: list[str]) -> None:
    names = words[1:3] if words[1] in GROUPS else words[1:2]
    shown = cli(*names, "--help").stdout
    for word in words[2:]:
        if word.startswith("-"):
            assert re.search(rf"(?<![\w-]){re.escape(word)}\b", shown), word


def test_every_command_is_shown() -> None:
    listed = re.findall(r"^  (\w+) ", cli("--help").stdout.partition("Commands:")[2], re.M)
    assert {words[1] for words in commands()} == set(listed)


@pytest.mark.parametrize("group", GROUPS)
def test_every_command_of_a_group_is_shown(group: str) -> None:
    listed = re.findall(r"^  (\w+) ", cli(group, "--help").stdout.partition("Commands:")[2], re.M)
    assert {words[2] for words in commands() if words[1] == group} == set(listed)


def test_its_program_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (program,) = blocks("python")
    exec(compile(program, "README.md", "exec"), {})
    best, outcome, *quotes = capsys.readouterr().out.splitlines()
    assert best == "Brannoch Observatory"
    assert outcome.startswith("quotes ")
    assert any(quote.startswith("w-028 ") and "Ottokar Lume" in quote for quote in quotes)


def test_what_it_links_to_is_there() -> None:
    linked = re.findall(r"\]\(([^):]+)\)", README)
    assert "docs/stores.md" in linked
    for target in linked:
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name)
def test_a_page_of_the_documentation_is_linked_and_names_what_exists(path: Path) -> None:
    assert f"(docs/{path.name})" in README
    text = path.read_text("utf-8")
    for target in re.findall(r"\]\(([^):]+)\)", text):
        assert (path.parent / target).exists(), target
    for module, names in re.findall(r"`(hoptrail\.rag\.\w+)` has ((?:`\w+`[, and]*)+)", text):
        for name in re.findall(r"`(\w+)`", names):
            assert hasattr(importlib.import_module(module), name), name


def test_its_settings_file_is_one(tmp_path: Path) -> None:
    from hoptrail.app.cli.settings import load_settings

    (tmp_path / "h.toml").write_text(blocks("toml")[0])
    read = load_settings(tmp_path / "h.toml")
    assert (read.store.dir, read.ask.strategy, read.budget.calls) == (tmp_path / "mine", "pool", 16)


def tree() -> dict[str, str]:
    """The README's last block as what it says of each folder, files at its top among them."""
    said: dict[str, str] = {}
    open_folders: list[str] = []
    for line in blocks("text")[-1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        head = line.split()[0]
        del open_folders[depth:]
        if head.endswith(("/", "/,")):
            names = [name.strip("/,") for name in line.split("  ")[depth].split()]
            open_folders.append(names[0])
            for name in names:
                said["/".join([*open_folders[:-1], name])] = line
        else:
            said.setdefault("/".join(open_folders), "")
            said["/".join(open_folders)] += "\n" + line
    return said


def test_it_ends_with_a_tree_of_what_is_there() -> None:
    assert README.endswith("```\n")
    for folder, text in tree().items():
        assert (ROOT / folder).is_dir(), folder
        for name in re.findall(r"(?<![\w/])[\w.-]+(?:\.py|\.md|\.txt|\.json|/)(?![\w/])", text):
            inside, beside = ROOT / folder / name, (ROOT / folder).parent / name
            assert inside.exists() or beside.exists(), f"{folder}: {name}"


def test_the_tree_names_every_folder_and_the_files_of_each_layer() -> None:
    said = tree()
    for layer in ("prompts", "rag", "agents", "evals", "app"):
        shown = "\n".join(text for folder, text in said.items() if folder.split("/")[0] == layer)
        for path in (ROOT / layer).rglob("*"):
            if path.name.startswith("__") or "__pycache__" in path.parts:
                continue
            if path.is_dir() or (path.parent == ROOT / layer and path.suffix == ".py"):
                assert re.search(rf"\b{re.escape(path.name)}\b", shown), path
