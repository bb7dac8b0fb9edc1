"""Parser of files into documents, within limits of size, time and memory, without network.

Plain text and JSON lines are decoded here, at a cost their size bounds. All other formats are
parsed, and long texts split, by one long-lived child process (`worker.py`), which is killed and
replaced when it takes too long or dies; what is wrong with a file is always a value, so that the
rest goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from hoptrail.rag.errors import SettingsError
from hoptrail.rag.ingest.files import FileProblem, SourceFile, UnreadableFile, as_problem
from hoptrail.rag.ingest.packing import passage_spans
from hoptrail.rag.ingest.parsers.base import check_text, read_bytes, short_title
from hoptrail.rag.ingest.parsers.decoding import HEAD, check_head, decode
from hoptrail.rag.ingest.parsers.jsonl import Parsed, RecordLimits, read_records
from hoptrail.rag.text.sentences import Span
from hoptrail.rag.types import Document

__all__ = ["FileProblem", "ParseLimits", "Parsed", "Parser"]

_START_SECONDS = 120
_EXIT_SECONDS = 10
_IDLE_SECONDS = 0.2
_WORKER = (sys.executable, "-P", "-m", "hoptrail.rag.ingest.parsers.worker")

_SPLIT_HERE = 20_000
"""Characters of a text that is split in this process: even one made to be slow takes no second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseLimits:
    """Limits of size, time and memory for one file. All must be above 0."""

    file_bytes: int = 100_000_000
    """Size of a file that is read whole; .jsonl is streamed and has no such limit."""
    seconds: float = 60.0
    """Time to parse one file that is no plain text, and again to split a text into passages."""
    memory_bytes: int = 2_000_000_000
    """Address space of the child that does both."""
    text_chars: int = 50_000_000
    """Length of the text of a file."""
    line_bytes: int = 50_000_000
    """Size of one line of a .jsonl file."""
    gz_bytes: int = 1_000_000_000
    """Unpacked size of a .jsonl.gz, .docx, .pptx, .xlsx or .epub file."""
    gz_ratio: float = 200.0
    """Ratio of unpacked to packed bytes, once 10 MB are unpacked."""

    def __post_init__(self) -> None:
        """Raises SettingsError for a limit that is not above 0."""
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise SettingsError(f"The limit {name} is {getattr(self, name)!r}. Set it above 0.")


def _nothing() -> None:
    """Default callback while a file is parsed: does nothing."""


class Parser:
    """Parses files by suffix. A context manager: leaving it ends the child process."""

    def __init__(
        self,
        limits: ParseLimits | None = None,
        *,
        worker: Sequence[str] = _WORKER,
        on_idle: Callable[[], None] = _nothing,
    ) -> None:
        """Starts nothing.

        Args:
            limits: see there.
            worker: the child's command, for tests.
            on_idle: called every 0.2 s while the child parses; its own time does not count
                against the child's, and what it raises ends the child.
        """
        self._limits = limits or ParseLimits()
        self._child = _Child(worker, self._limits, on_idle)

    def __enter__(self) -> Self:
        """Starts nothing: the child starts with the first file that needs it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the child, also in the middle of its work."""
        self.close()

    def close(self) -> None:
        """Ends the child process; the next file starts another."""
        self._child.close()

    def read(self, source: SourceFile) -> Iterator[Parsed | FileProblem]:
        """Yields what `source` gives: one document or problem, or many of both for .jsonl."""
        limits = self._limits
        if source.format == "jsonl":
            yield from read_records(
                source,
                RecordLimits(
                    line_bytes=limits.line_bytes,
                    gz_bytes=limits.gz_bytes,
                    gz_ratio=limits.gz_ratio,
                ),
            )
            return
        try:
            yield self._whole(source)
        except UnreadableFile as refused:
            yield as_problem(source, refused)

    def passage_spans(self, text: str, budget: int, overlap: int, language: str) -> list[Span]:
        """Returns what `packing.passage_spans` does, within the limits of time and memory.

        Raises:
            UnreadableFile: splitting takes too long or too much memory.
            SettingsError: there are no sentence rules for the language.
        """
        if len(text) <= _SPLIT_HERE:
            return passage_spans(text, budget, overlap, language)
        return self._child.split(text, budget, overlap, language)

    def _whole(self, source: SourceFile) -> Parsed:
        limits = self._limits
        data = read_bytes(source.path, limits.file_bytes)
        check_head(data[:HEAD], source.path.suffix.lower())
        if source.format == "text":
            title, text = "", check_text(decode(data), limits.text_chars)
        else:
            title, text = self._child.parse(source)
        document = Document(
            id=source.id,
            title=title or short_title(source.path.stem),
            text=text,
            metadata={"source": source.id, "format": source.format},
        )
        return Parsed(document=document, is_record=False, read_bytes=source.size)


class _Child:
    """The parsing process, started when needed and after each death."""

    def __init__(
        self, command: Sequence[str], limits: ParseLimits, on_idle: Callable[[], None]
    ) -> None:
        self._command, self._limits, self._on_idle = tuple(command), limits, on_idle
        self._process: subprocess.Popen[bytes] | None = None
        self._requests: Connection | None = None
        self._replies: Connection | None = None

    def parse(self, source: SourceFile) -> tuple[str, str]:
        """Returns title and text. Raises UnreadableFile."""
        reply = self._ask(
            {
                "path": str(source.path.absolute()),
                "format": source.format,
                "file_bytes": self._limits.file_bytes,
                "limits": {
                    "text_chars": self._limits.text_chars,
                    "zip_bytes": self._limits.gz_bytes,
                    "zip_ratio": self._limits.gz_ratio,
                },
            }
        )
        return reply["title"], reply["text"]

    def split(self, text: str, budget: int, overlap: int, language: str) -> list[Span]:
        """Returns the spans of a text's passages. Raises UnreadableFile."""
        arguments = {"text": text, "budget": budget, "overlap": overlap, "language": language}
        return [(start, end) for start, end in self._ask({"split": arguments})["spans"]]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            if self._process is None:
                self._start()
            reply = self._exchange(request)
        except BaseException:  # a reply to come must not answer the next request
            self.close()
            raise
        if reply.get("kind") == "memory":
            self.close()
            reply["reason"] = f"needs more than {self._limits.memory_bytes:,} bytes to be parsed"
        if "kind" in reply:
            raise UnreadableFile(reply["reason"], reply["kind"])
        return reply

    def close(self) -> None:
        """Kills the process and closes its pipes."""
        process, self._process = self._process, None
        for connection in (self._requests, self._replies):
            if connection and not connection.closed:
                connection.close()
        if process:
            process.kill()
            process.wait()

    def _start(self) -> None:
        incoming, self._requests = multiprocessing.Pipe(duplex=False)
        self._replies, outgoing = multiprocessing.Pipe(duplex=False)
        pipes = incoming.fileno(), outgoing.fileno()
        limits = str(self._limits.memory_bytes), str(self._limits.seconds)
        try:
            # A session of its own: Ctrl-C at a terminal reaches this process only.
            self._process = subprocess.Popen(
                [*self._command, *map(str, pipes), *limits],
                pass_fds=pipes,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                # Each thread of a numerical library would take of the address space.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        finally:
            incoming.close()
            outgoing.close()
        self._receive(_START_SECONDS)

    def _exchange(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._requests is not None
        try:
            self._requests.send_bytes(json.dumps(request).encode())
        except BrokenPipeError:
            raise self._died() from None
        return self._receive(self._limits.seconds)

    def _receive(self, seconds: float) -> dict[str, Any]:
        assert self._replies is not None
        left = seconds
        while not self._replies.poll(min(left, _IDLE_SECONDS)):
            left -= _IDLE_SECONDS
            if left <= 0:
                self.close()
                raise UnreadableFile(f"takes longer than {seconds:g} s to parse", "timeout")
            self._on_idle()
        try:
            reply: dict[str, Any] = json.loads(self._replies.recv_bytes())
        except (EOFError, OSError):
            raise self._died() from None
        return reply

    def _died(self) -> UnreadableFile:
        assert self._process is not None
        try:
            code = self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = -signal.SIGKILL
        self.close()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return UnreadableFile(f"makes the parser crash ({how})", "crash")
