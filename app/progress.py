"""The progress bar of an ingest, on stderr: how far, how fast, how long it still takes."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from hoptrail.app.output import counted
from hoptrail.rag.ingest import DocumentCommitted, IngestEvent, Progress


class IngestBar:
    """Listens to an ingest and draws it where stderr is a terminal; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        """`console`: where to draw; None: stderr."""
        console = console or Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task("ingesting", total=None, rate="")
        self._documents = self._passages = 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, event: IngestEvent) -> None:
        """Takes an event in."""
        if isinstance(event, DocumentCommitted):
            self._documents += 1
            self._passages += event.passages
            self._bars.update(self._task, rate=self._rate())
        elif isinstance(event, Progress):
            self._bars.update(self._task, completed=event.done_bytes, total=event.total_bytes)

    def _rate(self) -> str:
        seconds = self._bars.tasks[0].elapsed
        speed = f", {self._passages / seconds:,.0f} passages/s" if seconds else ""
        return counted(self._documents, "document") + speed
