"""Models as options and settings files name them: servers, keys and thoughts by role."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoptrail.agents import RoleModel, RoleModels, ServedModel
from hoptrail.app.cli.model_options import role_models, served_model
from hoptrail.app.cli.settings import FileSettings, ModelTable, load_settings
from hoptrail.rag.errors import SettingsError

FILE = """
[model]
url = "http://usual/v1"
api_key_env = "USUAL_KEY"
[models.planner]
thinking = true
thought_tokens = 900
[models.answerer]
url = "http://large/v1"
name = "large"
api_key_file = "large.key"
[models.scorer]
name = "small"
[models.verifier]
url = "http://other/v1"
"""


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileSettings:
    path = tmp_path / "hoptrail.toml"
    path.write_text(FILE, encoding="utf-8")
    (tmp_path / "large.key").write_text("large-key\n", encoding="utf-8")
    monkeypatch.setenv("USUAL_KEY", "usual-key")
    return load_settings(path)


def models(tables: FileSettings, *typed: str) -> RoleModels | None:
    return role_models(served_model(None, None, None, tables.model), tables.models, typed)


def test_a_file_names_the_models_of_roles(tables: FileSettings) -> None:
    assert models(tables) == RoleModels(
        default=ServedModel(url="http://usual/v1", api_key="usual-key"),
        roles={
            "planner": RoleModel(thinking=True, thought_tokens=900),
            "answerer": RoleModel(
                model=ServedModel(url="http://large/v1", name="large", api_key="large-key")
            ),
            "scorer": RoleModel(
                model=ServedModel(url="http://usual/v1", name="small", api_key="usual-key")
            ),
            # The default's key does not go to another server.
            "verifier": RoleModel(model=ServedModel(url="http://other/v1")),
        },
    )


def test_what_is_typed_is_over_the_file(tables: FileSettings) -> None:
    typed = ("planner.thinking=off", "answerer.thought_tokens=64", "scorer.url=http://b/v1")
    found = models(tables, *typed)
    assert found is not None
    assert found.roles["planner"] == RoleModel(thinking=False, thought_tokens=900)
    assert found.roles["answerer"].thought_tokens == 64
    assert found.roles["scorer"].model == ServedModel(url="http://b/v1", name="small")


def test_without_a_server_there_is_no_model() -> None:
    empty = FileSettings()
    assert models(empty) is None
    assert models(empty, "planner.thinking=on") is None
    found = models(empty, "answerer.url=http://a")
    assert found is not None
    assert found.servers() == {"answerer": ServedModel(url="http://a")}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("planner", "write ROLE.KEY=VALUE"),
        ("planner.thinking", "write ROLE.KEY=VALUE"),
        ("planner=on", "write ROLE.KEY=VALUE"),
        ("planer.thinking=on", "unknown 'planer', did you mean 'planner'"),
        ("planner.think=on", "unknown 'think', did you mean 'thinking'"),
        ("planner.thinking=maybe", "thinking is on or off"),
        ("planner.thought_tokens=-3", "thought_tokens is a whole number"),
        ("planner.name=large", "of no use without a server"),
        ("planner.api_key_file=/nowhere/key", "cannot be read"),
    ],
)
def test_a_wrong_role_option_is_refused(typed: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        models(FileSettings(), typed)


def test_a_key_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"'NO_SUCH_KEY' \(api_key_env\) is not set"):
        served_model("http://a", None, None, ModelTable(api_key_env="NO_SUCH_KEY"))


def test_the_roles_of_settings_are_those_of_a_run() -> None:
    from dataclasses import fields

    from hoptrail.agents.runs.models import ROLES
    from hoptrail.app.cli.settings import ModelsTable

    assert tuple(field.name for field in fields(ModelsTable)) == ROLES
