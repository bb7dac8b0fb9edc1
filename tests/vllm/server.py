"""A real vLLM server that a test starts, watches, kills and starts again.

Unusual here:
- The server is three processes (HTTP, engine, worker), and killing the first alone leaves 2 GB of
  the others running for good (seen). So it gets a process group, always killed as a whole, and a
  leash: a watcher that kills the group when the process that started it is gone, however it went.
- It sees none of the caller's environment and works in a folder of its own, which takes its log,
  its sockets and whatever else it leaves behind. A working directory of ours would be fatal: this
  package is called vllm too.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import httpx

HOST = "127.0.0.1"
# Seconds; 17 to 209 were seen, by the machine's load. A server that dies is reported at once, so
# this long wait is only for one that hangs.
START_DEADLINE = 480.0
STOP_DEADLINE = 30.0
# The guidance backend with no free whitespace: by default a random model writes blanks for ever,
# and xgrammar lets raw control characters into strings.
STRUCTURED_OUTPUTS = '{"backend":"guidance","disable_any_whitespace":true}'
LEASH = "import os, signal, sys; sys.stdin.read(); os.killpg(int(sys.argv[1]), signal.SIGKILL)"
METRICS = ("num_requests_running", "num_requests_waiting", "generation_tokens_total")


class VllmServerError(Exception):
    """The server died or did not come up; the message ends with the tail of its log."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a server serves, and how."""

    python: Path
    """The interpreter of the server's own environment (see build.py)."""
    model: Path
    name: str
    runner: Literal["generate", "pooling"] = "generate"
    max_model_len: int | None = 2048
    """Prompt and answer together, in tokens; None takes the model's own."""
    api_key: str | None = None
    flags: tuple[str, ...] = ()
    """Further command-line flags."""

    def command(self, port: int) -> list[str]:
        """Return the command line; the key is not in it (see `environment`)."""
        command = [str(self.python), "-m", "vllm.entrypoints.openai.api_server"]
        command += ["--model", str(self.model), "--served-model-name", self.name]
        command += ["--host", HOST, "--port", str(port), "--runner", self.runner]
        command += ["--dtype", "float32", "--enforce-eager"]
        if self.max_model_len is not None:
            command += ["--max-model-len", str(self.max_model_len)]
        if self.runner == "generate":
            command += ["--structured-outputs-config", STRUCTURED_OUTPUTS]
        return [*command, *self.flags]

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the whole environment of the server, which works in `folder`."""
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            "PYTHONSAFEPATH": "1",
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            # What it learns of a model's class costs a process and 10 s: kept from start to start.
            "VLLM_CACHE_ROOT": str(self.python.parent.parent / "cache"),
            "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB: a million tokens of the tiny model
            # Bound to cores, two servers would both take core 0.
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "OMP_NUM_THREADS": "1",
            # Compiled, the first answer with log-probabilities takes 20 s and needs g++.
            "TORCH_COMPILE_DISABLE": "1",
        }
        if self.api_key is not None:
            environment["VLLM_API_KEY"] = self.api_key
        return environment


class VllmServer:
    """One server on a free loopback port, which it keeps over `restart`.

    Args:
        served: What to serve.
        deadline: Seconds that it may take to come up.
    """

    def __init__(self, served: Served, *, deadline: float = START_DEADLINE) -> None:
        self.served = served
        self._deadline = deadline
        self._folder = tempfile.TemporaryDirectory(
            prefix="hoptrail-vllm-", ignore_cleanup_errors=True
        )
        self._log = Path(self._folder.name) / "server.log"
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The root; the OpenAI endpoints lie under /v1 of it, /tokenize and /metrics do not."""
        return f"http://{HOST}:{self._port}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers that a request needs: the key, where there is one."""
        key = self.served.api_key
        return {} if key is None else {"authorization": f"Bearer {key}"}

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended since."""
        return self._process is not None and self._process.poll() is None

    def client(self, *, timeout: float = 120.0) -> httpx.Client:
        """Return a client with the root as its base and the key in its headers."""
        return httpx.Client(
            base_url=self.url, headers=self.headers, timeout=timeout, trust_env=False
        )

    def start(self) -> None:
        """Start the server and return when it answers.

        Raises:
            VllmServerError: It died, or did not answer before the deadline.
        """
        if self._process is not None:
            raise RuntimeError("the server has been started already: restart() it")
        folder = Path(self._folder.name)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self.served.command(self._port),
                cwd=folder,
                env=self.served.environment(folder),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._leash = subprocess.Popen(
            [sys.executable, "-I", "-c", LEASH, str(self._process.pid)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            self._wait_until_healthy(self._process)
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Let the server end by itself, then kill what is left of it; harmless when it is down.

        It ends its streams with an error event, but never answers a request without a stream: its
        caller waits until this kills the server (seen).
        """
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_DEADLINE)
            self.kill()

    def kill(self) -> None:
        """SIGKILL the whole process group, as a crash would; harmless when it is down."""
        if self._leash is not None:
            self._leash.kill()
            self._leash.communicate()
            self._leash = None
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def kill_engine(self) -> None:
        """SIGKILL the engine alone: the HTTP process reports it to its callers, then ends."""
        if self._process is None:
            raise RuntimeError("the server is down")
        for name in Path("/proc").glob("[0-9]*/comm"):
            # A process may end while it is looked at.
            with suppress(OSError):
                pid = int(name.parent.name)
                if name.read_text().startswith("VLLM::Engine") and (
                    os.getpgid(pid) == self._process.pid
                ):
                    os.kill(pid, signal.SIGKILL)
                    return
        raise RuntimeError(f"the server has no engine:\n{self.log_tail()}")

    def restart(self) -> None:
        """Kill the server if it is up and start it again on the same port."""
        self.kill()
        self.start()

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the log; it goes on over a restart."""
        text = self._log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def metrics(self) -> dict[str, int]:
        """Return how many requests run, how many wait, and how many tokens were ever generated.

        The keys are METRICS. A request that was hung up on has left when neither runs nor waits.
        """
        response = httpx.get(f"{self.url}/metrics", timeout=30.0, trust_env=False)
        response.raise_for_status()
        return {name: _metric(response.text, name) for name in METRICS}

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + self._deadline
        while time.monotonic() < end:
            if process.poll() is not None:
                raise VllmServerError(
                    f"vLLM ended with status {process.returncode}:\n{self.log_tail()}"
                )
            with suppress(httpx.TransportError):
                health = httpx.get(f"{self.url}/health", timeout=10.0, trust_env=False)
                if health.status_code == httpx.codes.OK:
                    return
            time.sleep(0.25)
        raise VllmServerError(f"vLLM was not up in {self._deadline:.0f} s:\n{self.log_tail()}")

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._folder.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._folder.cleanup()


def _free_port() -> int:
    """Return a port that was free a moment ago; vLLM takes it before it loads the model."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _metric(text: str, name: str) -> int:
    """Return a number from Prometheus text, where it stands as `vllm:name{labels} 1.0`."""
    line = next(line for line in text.splitlines() if line.startswith(f"vllm:{name}{{"))
    return int(float(line.rsplit(maxsplit=1)[1]))
