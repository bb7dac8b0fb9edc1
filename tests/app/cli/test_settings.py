"""The settings file: what it may say, and what is said of what it may not."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from hoptrail.app.cli.resolve import embedder_name, run_settings, store_location, where_of
from hoptrail.app.cli.settings import (
    AskTable,
    FileSettings,
    StoreTable,
    given,
    load_settings,
    set_in,
)
from hoptrail.rag.errors import SettingsError


def written(folder: Path, text: str) -> Path:
    path = folder / "hoptrail.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_no_file_sets_nothing() -> None:
    assert load_settings(None) == FileSettings()
    assert set_in(FileSettings().budget, "calls", "tokens") == {}


def test_every_table_is_read_and_paths_are_those_of_the_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [store]
        dir = "notes"
        tenant = "anna"
        lexical = "rank-bm25"
        embedder_key_file = "embedder.key"
        [ingest]
        chunk_tokens = 120
        prune = true
        parse_seconds = 5
        [search]
        k = 3
        [ask]
        strategy = "single"
        max_rounds = 2
        [model]
        url = "http://127.0.0.1:8000/v1"
        api_key_file = "key"
        [budget]
        calls = 0
        seconds = 2.5
        """,
    )
    read = load_settings(path)
    assert read.store.dir == tmp_path / "notes"
    assert (read.store.tenant, read.store.lexical, read.store.dense) == ("anna", "rank-bm25", None)
    assert read.store.embedder_key_file == tmp_path / "embedder.key"
    assert (read.ingest.chunk_tokens, read.ingest.prune, read.ingest.parse_seconds) == (
        120,
        True,
        5,
    )
    assert read.search.k == 3
    assert (read.ask.strategy, read.ask.max_rounds) == ("single", 2)
    assert read.model.api_key_file == tmp_path / "key"
    assert set_in(read.budget, "calls", "tokens", "seconds") == {"calls": 0, "seconds": 2.5}


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path, f"[store]\ndir = '{tmp_path / 'elsewhere'}'")
    assert load_settings(path).store.dir == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[models.planer]\nthinking = true", r"Unknown key 'planer' in \[models\] .* 'planner'"),
        ("[models.planner]\nthink = true", r"'think' in \[models.planner\] .* 'thinking'"),
        ("[models.planner]\nthinking = 1", r"thinking = 1 in \[models.planner\] .* boolean"),
        ("[models]\nplanner = 'x'", r"'models.planner' .* write \[models.planner\]\.$"),
        ("[budget]\ncals = 3", r"Unknown key 'cals' in \[budget\] .* did you mean 'calls'?"),
        ("[budget]\nxyz = 3", r"known are calls, searches, seconds, tokens\.$"),
        ("[bugdet]\ncalls = 3", r"Unknown table \[bugdet\] .* did you mean 'budget'"),
        ("store = 'x'", r"'store' .* must be a table: write \[store\]\.$"),
        ("[budget]\ncalls = 'many'", r"calls = 'many' in \[budget\] .* valid integer"),
        ("[budget]\ncalls = 2.5", r"calls = 2.5 in \[budget\]"),
        ("[ingest]\nprune = 1", r"prune = 1 in \[ingest\] .* valid boolean"),
        ("[store]\ndir = 2020-01-01\ntenant = 3", r"tenant = 3 in \[store\] .* valid string"),
        ("[store", "is no TOML"),
    ],
)
def test_a_wrong_line_of_a_settings_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace("?", r"\?")):
        load_settings(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"'.*none\.toml' cannot be read: No such file"):
        load_settings(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"[store]\ntenant = '\xe9'")
    with pytest.raises(SettingsError, match="is no TOML"):
        load_settings(tmp_path / "latin.toml")


def test_given_keeps_zero_and_false() -> None:
    assert given(a=0, b=None, c=False) == {"a": 0, "c": False}


def test_a_flag_wins_over_the_file_and_a_store_must_be_named() -> None:
    table = StoreTable(dir=Path("from-file"), tenant="anna")
    assert store_location(Path("flag"), None, table) == (Path("flag"), "anna")
    assert store_location(None, "bert", table) == (Path("from-file"), "bert")
    assert store_location(None, None, StoreTable(dir=Path("x"))) == (Path("x"), "default")
    with pytest.raises(SettingsError, match="No store is named: give --store DIR"):
        store_location(None, None, StoreTable())


def test_the_folder_of_weights_goes_with_minilm_only() -> None:
    table = StoreTable()
    assert embedder_name(None, None, table) is None
    assert embedder_name(None, Path("w"), table) == "minilm:w"
    assert embedder_name("minilm", Path("w"), table) == "minilm:w"
    with pytest.raises(SettingsError, match="not with 'hash'"):
        embedder_name("hash", Path("w"), table)


@pytest.mark.parametrize("name", ["http://anna:gehe@im@h:8000/v1#m", "anna:geheim@h:8000/v1"])
def test_a_password_in_a_server_name_is_not_shown(name: str) -> None:
    with pytest.raises(SettingsError, match=r"not with '…@h:8000/v1") as typed:
        embedder_name(name, Path("w"), StoreTable())
    with pytest.raises(SettingsError, match=r"not with '…@h:8000/v1") as set_there:
        embedder_name(None, Path("w"), StoreTable(embedder=name))
    assert "gehe" not in str(typed.value) + str(set_there.value)


def test_a_password_in_a_wrong_value_is_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, '[model]\nurl = ["http://anna:geheim@h:8000/v1"]')
    with pytest.raises(SettingsError, match="url = …@h:8000") as no:
        load_settings(path)
    assert "geheim" not in str(no.value)


def test_conditions_have_the_types_of_json() -> None:
    found = where_of(["a=7", 'b="7"', "c=true", "d=x=y", "e=", "f=1.5", "g=NaN", "h=null"])
    assert found == {
        "a": 7, "b": "7", "c": True, "d": "x=y", "e": "", "f": 1.5, "g": "NaN", "h": "null",
    }  # fmt: skip
    assert where_of(None) == {}


@pytest.mark.parametrize(
    ("spelt", "value"),
    [
        ("1884", 1884), ("-3", -3), ("0.25", 0.25), ("1884.0", 1884.0),
        *((text, text) for text in ("007", "1.10", "12E4", "1e5", "+5", "1_000", "--1", "1.2.3",
                                    ".5", "5.", "-", "", "Infinity", "１２", "[1]", '"', '"x')),
        ("9" * 5_000, "9" * 5_000), ("9" * 400 + ".5", "9" * 400 + ".5"),
        ("[" * 100_000, "[" * 100_000), ('"' + "[" * 100_000 + '"', "[" * 100_000),
    ],
)  # fmt: skip
def test_only_a_plain_number_is_one(spelt: str, value: object) -> None:
    found = where_of([f"key={spelt}"])["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("depth", [200, 900, 100_000])
def test_settings_that_nest_deeply_are_refused(tmp_path: Path, depth: int) -> None:
    path = written(tmp_path, f"[model]\nurl = {'[' * depth}{']' * depth}")
    with pytest.raises(SettingsError, match=r"nested too deeply|is wrong"):
        load_settings(path)


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (["year"], "--where 'year': write KEY=VALUE"),
        (["=3"], "--where '=3': write KEY=VALUE"),
        (["a=1", "a=2"], "names 'a' twice"),
    ],
)
def test_conditions_that_make_no_filter(conditions: list[str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        where_of(conditions)


def test_every_setting_of_a_run_but_the_tree_searchs_has_a_key_in_ask() -> None:
    from hoptrail.agents import RunSettings

    keys = {one.name for one in fields(AskTable)}
    assert keys - {"strategy"} == {one.name for one in fields(RunSettings)} - {"navigate"}


def test_the_options_of_served_roles_go_from_the_file_into_a_run(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        [ask]
        rank_by = "utility"
        rank_samples = 3
        per_document = 2
        query_writer = "thought"
        verification = "natural_logic"
        label_probabilities = true
        """,
    )
    settings = run_settings(None, load_settings(path).ask)
    assert (settings.rank_by, settings.rank_samples, settings.per_document) == ("utility", 3, 2)
    assert (settings.query_writer, settings.verification) == ("thought", "natural_logic")
    assert settings.label_probabilities


def test_an_unknown_value_of_an_option_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    table = load_settings(written(tmp_path, '[ask]\nquery_writer = "hyde"\n')).ask
    with pytest.raises(SettingsError, match=r"Unknown query_writer 'hyde': use one of gap, key"):
        run_settings(None, table)
