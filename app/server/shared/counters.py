"""The counters of a server, for Prometheus; no label names a tenant, a key or a text."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from hoptrail.agents.runs.receipt import Receipt

_SECONDS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)


class Metrics:
    """Counters of requests, questions, tokens and documents, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "hoptrail_requests", "Requests by route and status.", ("route", "status"),
            registry=self.registry,
        )  # fmt: skip
        self.questions = Counter(
            "hoptrail_questions", "Questions by strategy, outcome and stop reason.",
            ("strategy", "outcome", "stop"), registry=self.registry,
        )  # fmt: skip
        self.tokens = Counter(
            "hoptrail_tokens", "Tokens of served models.", ("kind",), registry=self.registry
        )
        self.seconds = Histogram(
            "hoptrail_question_seconds", "Time from a question to its receipt.", ("strategy",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.tasks = Counter(
            "hoptrail_tasks", "Titles, tags and the like, answered without a search.", ("task",),
            registry=self.registry,
        )  # fmt: skip
        self.documents = Counter(
            "hoptrail_documents", "Documents put and deleted.", ("action",), registry=self.registry
        )
        self.in_flight = Gauge(
            "hoptrail_questions_in_flight", "Questions in flight.", registry=self.registry
        )
        self.open_stores = Gauge("hoptrail_open_stores", "Open stores.", registry=self.registry)

    def text(self) -> bytes:
        """All counters in Prometheus' text format."""
        return generate_latest(self.registry)

    def count(self, receipt: Receipt, seconds: float) -> None:
        """Counts a question that has its receipt."""
        self.questions.labels(
            strategy=receipt.strategy, outcome=receipt.outcome.kind, stop=receipt.stop
        ).inc()
        self.seconds.labels(strategy=receipt.strategy).observe(seconds)
        self.tokens.labels(kind="prompt").inc(receipt.usage.prompt_tokens)
        self.tokens.labels(kind="completion").inc(receipt.usage.completion_tokens)
