"""The wheel holds every file of the five parts, and nothing else of ours."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest
from support.paths import ROOT

PARTS = ("prompts", "rag", "agents", "evals", "app")
SUFFIXES = (".py", ".md", ".json", ".typed")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    source = folder / "source"
    for name in filter(None, files):
        if not (ROOT / name).is_file():
            continue
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "build",
            "--wheel",
            "--no-isolation",
            "-o",
            str(folder),
            str(source),
        ],
        check=True,
        capture_output=True,
        cwd=folder,
    )
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_every_source_file_is_in_the_wheel(wheel: set[str]) -> None:
    tree = {
        f"hoptrail/{path.relative_to(ROOT).as_posix()}"
        for part in PARTS
        for path in (ROOT / part).rglob("*")
        if path.suffix in SUFFIXES or path.name == "py.typed"
    } | {"hoptrail/__init__.py", "hoptrail/py.typed"}
    assert {name for name in tree if "__pycache__" not in name} - wheel == set()


def test_the_wheel_holds_nothing_but_the_package(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"hoptrail"}
    front = {name for name in wheel if name.count("/") == 1 and name.startswith("hoptrail/")}
    assert front == {"hoptrail/__init__.py", "hoptrail/py.typed"}
