"""The build of the server's environment: it fails loudly, and half of it is never taken for all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from . import build  # noqa: TID252 (see conftest.py)


def test_every_package_of_the_lock_has_one_version_and_its_hash() -> None:
    lines = [line for line in build.LOCK.read_text().splitlines() if not line.startswith("#")]
    pins, hashes = lines[1::2], lines[2::2]
    assert len(pins) == len(hashes) > 100
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+ \\", pin) for pin in pins)
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}", line) for line in hashes)


def test_without_the_torch_wheel_the_build_fails_and_names_it(tmp_path: Path) -> None:
    """As on a machine without the wheel; pip is kept from the registries to make it quick."""
    environment = {name: value for name, value in os.environ.items() if name[:4] != "PIP_"}
    environment |= {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    command = [sys.executable, str(build.HERE / "build.py"), "--dir", str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "torch==2.13.0+cpu is missing" in run.stderr
    assert run.stdout == ""
    assert not build.layout(tmp_path).environment.exists()


def test_what_was_begun_and_not_ended_is_begun_again(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def make(file: str, *, fail: bool) -> None:
        with build.whole_or_absent(target) as unfinished:
            unfinished.mkdir()
            (unfinished / file).touch()
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make("half", fail=True)
    assert not target.exists()
    make("whole", fail=False)
    assert [path.name for path in target.iterdir()] == ["whole"]
    assert list(tmp_path.iterdir()) == [target]


def test_the_model_follows_its_corpus_and_the_environment_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    monkeypatch.setattr(build, "CORPUS", corpus)
    without = build.layout(tmp_path)
    corpus.write_text('{"text": "something else"}\n')
    with_corpus = build.layout(tmp_path)
    assert with_corpus.environment == without.environment
    assert with_corpus.tiny_model != without.tiny_model
    assert not with_corpus.complete
