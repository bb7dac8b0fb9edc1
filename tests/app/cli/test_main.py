"""The command line as a whole: its help is quick."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest
import typer
from support.cli import COMMAND
from typer.core import TyperGroup

from hoptrail.app.cli.main import app

HEAVY = frozenset({"langgraph", "httpx", "tantivy", "onnxruntime", "numpy"})


def commands(group: TyperGroup, *names: str) -> Iterator[tuple[str, ...]]:
    """A group and all that is below it."""
    yield names
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, *names, name)
        else:
            yield (*names, name)


ROOT = typer.main.get_command(app)
assert isinstance(ROOT, TyperGroup)


@pytest.mark.parametrize(
    "command", list(commands(ROOT)), ids=lambda command: " ".join(command) or "-"
)
def test_help_needs_none_of_the_heavy_libraries(command: tuple[str, ...]) -> None:
    program = (
        "import sys\nfrom hoptrail.app.cli.main import app\n"
        f"try:\n    app([*{command!r}, '--help'])\nexcept SystemExit as end:\n"
        "    assert not end.code\n"
        f"heavy = {set(HEAVY)!r} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run(
        [COMMAND[0], "-P", "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.lstrip().startswith("Usage: ")
