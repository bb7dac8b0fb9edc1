"""Errors as clients see them: OpenAI's shape, and nothing of the server's inside."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.cli import make_store
from support.server import ASK, client_of

from hoptrail.agents.events import StepStarted
from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.api_errors import shown_error
from hoptrail.app.server.server_settings import ServerSettings
from hoptrail.rag.errors import (
    EmbedderError,
    HoptrailError,
    ModelError,
    SettingsError,
    StoreBusy,
    StoreDamaged,
    StoreFull,
    StoreMissing,
    StoreReadOnly,
)

SECRET = "/srv/stores/acme/catalogue.db"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (StoreBusy(SECRET), 503), (StoreFull(SECRET), 507), (StoreReadOnly(SECRET), 403),
        (StoreMissing(SECRET), 503), (StoreDamaged(SECRET), 503), (EmbedderError(SECRET), 503),
        (ModelError(SECRET), 503), (HoptrailError(SECRET), 503), (SettingsError(SECRET), 400),
        (ValueError(SECRET), 500), (KeyError(SECRET), 500),
    ],
)  # fmt: skip
def test_no_error_shows_a_path(
    error: Exception, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        shown = shown_error(error)
    assert shown.status == status
    assert SECRET not in str(shown.body())
    assert SECRET in caplog.text, "whoever runs the server sees it"


def test_a_setting_that_the_client_chose_is_named() -> None:
    assert shown_error(SettingsError("A search needs k >= 1, not 0.")).message.startswith(
        "A search"
    )


def test_a_bug_is_an_error_in_shape_and_its_question_gives_its_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError(SECRET)

    root = make_store(tmp_path / "store", {"a": "A b."})
    monkeypatch.setattr(KnowledgeBase, "aask", broken)
    with client_of(ServerSettings(store=root, questions=1)) as client:
        for streamed in (False, True, False):
            answer = client.post("/v1/chat/completions", json=ASK | {"stream": streamed})
            assert answer.status_code == 500
            assert answer.json()["error"]["code"] == "internal_error"
            assert SECRET not in answer.text
            assert "Traceback" not in answer.text


def test_an_error_after_the_first_words_of_a_stream_is_its_last_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **options: object) -> None:
        options["on_event"](StepStarted(node="plan", round=0))  # type: ignore[operator]
        raise StoreDamaged(SECRET)

    root = make_store(tmp_path / "store", {"a": "A b."})
    monkeypatch.setattr(KnowledgeBase, "aask", broken)
    monkeypatch.setattr("hoptrail.app.server.chat.question._FIRST_SECONDS", 0.0)
    with client_of(ServerSettings(store=root)) as client:
        answer = client.post("/v1/chat/completions", json=ASK | {"stream": True})
    assert answer.status_code == 200
    *_, error, end = [one for one in answer.text.split("\n\n") if one]
    assert end == "data: [DONE]"
    assert '"code": "store_failed"' in error
    assert SECRET not in answer.text
