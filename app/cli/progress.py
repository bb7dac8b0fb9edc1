"""Progress bars of ingest, evaluation and builds, on stderr: share done, speed, time left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBars

from hoptrail.app.text import plural
from hoptrail.rag.ingest.pipeline import DocumentCommitted, IngestEvent
from hoptrail.rag.ingest.pipeline import Progress as IngestProgress

if TYPE_CHECKING:
    from hoptrail.evals.runner import EvalProgress


class IngestBar:
    """Progress bar of an ingest, drawn if stderr is a terminal; a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        """`console`: where to draw; None: stderr."""
        console = console or Console(stderr=True)
        self._bars = ProgressBars(
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

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, event: IngestEvent) -> None:
        """Updates the bar from an event of the ingest."""
        if isinstance(event, DocumentCommitted):
            self._documents += 1
            self._passages += event.passages
            self._bars.update(self._task, rate=self._rate())
        elif isinstance(event, IngestProgress):
            self._bars.update(self._task, completed=event.done_bytes, total=event.total_bytes)

    def _rate(self) -> str:
        seconds = self._bars.tasks[0].elapsed
        speed = f", {self._passages / seconds:,.0f} passages/s" if seconds else ""
        return plural(self._documents, "document") + speed


class EvalBar:
    """Progress bars of an evaluation: first the ingest of the data set, then the questions."""

    def __init__(self, console: Console | None = None) -> None:
        """`console`: where to draw; None: stderr."""
        self._console = console or Console(stderr=True)
        self._ingest = IngestBar(self._console)
        self._bars = ProgressBars(
            TextColumn("asking"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bars.add_task("asking", total=None)

    def __enter__(self) -> Self:
        self._ingest.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._ingest.__exit__()
        self._bars.stop()

    def ingest(self, event: IngestEvent) -> None:
        """Updates the bar of the ingest from an event."""
        self._ingest(event)

    def ask(self, progress: EvalProgress) -> None:
        """Updates the bar of the questions."""
        if progress.row is None:
            self._ingest.__exit__()
            self._bars.start()
        self._bars.update(self._task, completed=progress.done, total=progress.total)


class BuildBar:
    """Progress bar of a graph or tree build, drawn if stderr is a terminal; a context manager."""

    def __init__(self, doing: str, nouns: str, console: Console | None = None) -> None:
        """Creates the bar.

        Args:
            doing: label of the bar.
            nouns: plural noun of the units counted.
            console: where to draw; None: stderr.
        """
        console = console or Console(stderr=True)
        self._nouns = nouns
        self._bars = ProgressBars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bars.add_task(doing, total=None, rate="")

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, done: int, total: int, more: str = "") -> None:
        """Updates the bar; `more` is shown beside the speed. A smaller `done` restarts it."""
        if done < self._bars.tasks[0].completed:
            self._bars.reset(self._task)
        seconds = self._bars.tasks[0].elapsed
        speed = f"{done / seconds:,.1f} {self._nouns}/s" if seconds else ""
        rate = ", ".join(part for part in (speed, more) if part)
        self._bars.update(self._task, completed=done, total=total, rate=rate)
