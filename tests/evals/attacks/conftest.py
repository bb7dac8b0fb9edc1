"""A sandbox over a small store, shared by the tests of the attacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import TEXTS, make_store

from hoptrail.evals.attacks import Sandbox


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's store."""
    return make_store(tmp_path_factory.mktemp("attacked") / "store", TEXTS)


@pytest.fixture(scope="module")
def sandbox(attacked: Path) -> Iterator[Sandbox]:
    with Sandbox.over(attacked) as made:
        yield made
