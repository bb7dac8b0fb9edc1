"""Work done side by side: nothing is lost, nothing is done twice, and why it ended is told."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoptrail.agents.budget.ledger import OutOfBudget
from hoptrail.agents.indexing.batch_runner import (
    BatchRunner,
    CommitBuffer,
    IndexingStop,
    check_parallel,
)
from hoptrail.rag.errors import SettingsError, StoreBusy


@dataclass(frozen=True)
class Came:
    failure: str = ""


class Jobs:
    """Numbers to be done; `outcome` says what comes of each when it is tried."""

    def __init__(self, count: int, outcome: Callable[[int], Came | OutOfBudget]) -> None:
        self.left = deque(range(count))
        self.outcome = outcome
        self.running = self.most = 0
        self.tried: list[int] = []
        self.taken: list[tuple[int, str]] = []
        self.settled: list[bool] = []

    async def next(self) -> int | None:
        return self.left.popleft() if self.left else None

    async def do(self, job: int) -> Came:
        self.tried.append(job)
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        came = self.outcome(job)
        if isinstance(came, OutOfBudget):
            raise came
        return came

    def take(self, job: int, found: Came) -> None:
        self.taken.append((job, found.failure))

    async def settle(self, *, last: bool) -> None:
        self.settled.append(last)


def run(jobs: Jobs, parallel: int = 3, cancel: asyncio.Event | None = None) -> IndexingStop:
    return asyncio.run(BatchRunner(jobs).run(parallel, cancel or asyncio.Event()))


@settings(max_examples=40, deadline=None)
@given(count=st.integers(0, 20), parallel=st.integers(1, 8))
def test_everything_is_done_once_and_no_more_at_one_time_than_may_be(
    count: int, parallel: int
) -> None:
    jobs = Jobs(count, lambda _: Came())
    assert run(jobs, parallel) == "done"
    assert sorted(jobs.taken) == [(job, "") for job in range(count)]
    assert jobs.most <= parallel
    assert jobs.settled[-1:] == [True]
    assert True not in jobs.settled[:-1]


def test_a_job_without_budget_is_tried_again_once_others_have_given_some_back() -> None:
    refused = {2}

    def outcome(job: int) -> Came | OutOfBudget:
        if job in refused:
            refused.remove(job)
            return OutOfBudget("out_of_tokens")
        return Came()

    jobs = Jobs(6, outcome)
    assert run(jobs) == "done"
    assert sorted(job for job, _ in jobs.taken) == list(range(6))
    assert jobs.tried.count(2) == 2


def test_a_batch_without_budget_ends_and_says_which_limit() -> None:
    jobs = Jobs(6, lambda job: Came() if job < 2 else OutOfBudget("out_of_calls"))
    assert run(jobs, parallel=1) == "out_of_calls"
    assert [job for job, _ in jobs.taken] == [0, 1]


def test_a_lost_server_ends_a_batch_and_its_job_is_not_taken() -> None:
    jobs = Jobs(9, lambda job: Came("unavailable" if job == 4 else ""))
    assert run(jobs, parallel=1) == "model_unavailable"
    assert [job for job, _ in jobs.taken] == [0, 1, 2, 3]


def test_refusals_end_a_batch_only_when_they_come_one_after_another() -> None:
    jobs = Jobs(40, lambda job: Came("" if job % 8 == 7 else "refused_by_server"))
    assert run(jobs, parallel=1) == "done"
    jobs = Jobs(40, lambda _: Came("refused_by_server"))
    assert run(jobs, parallel=1) == "model_unavailable"
    assert len(jobs.taken) == 8


def test_other_failures_are_results_like_any() -> None:
    jobs = Jobs(30, lambda _: Came("parse"))
    assert run(jobs) == "done"
    assert len(jobs.taken) == 30


def test_once_cancelled_nothing_is_begun_and_what_runs_is_waited_for() -> None:
    cancel = asyncio.Event()

    def outcome(job: int) -> Came:
        if job == 1:
            cancel.set()
        return Came()

    jobs = Jobs(30, outcome)
    assert run(jobs, 3, cancel) == "interrupted"
    assert sorted(job for job, _ in jobs.taken) == jobs.tried == [0, 1, 2]
    late = Jobs(2, outcome)
    assert run(late, 3, asyncio.Event()) == "done"


def test_a_bug_in_a_job_is_raised_and_the_others_are_handed_over() -> None:
    def outcome(job: int) -> Came:
        if job == 1:
            raise ZeroDivisionError
        return Came()

    jobs = Jobs(9, outcome)
    with pytest.raises(ZeroDivisionError):
        run(jobs, parallel=3)
    assert sorted(jobs.taken) == [(0, ""), (2, "")]
    assert jobs.settled == [True]


@pytest.mark.parametrize("parallel", [0, -1, 33])
def test_too_many_or_none_at_once_is_refused(parallel: int) -> None:
    with pytest.raises(SettingsError, match="1 to 32"):
        check_parallel(parallel)


def test_a_batch_is_committed_when_it_is_large_enough_or_wanted_whole() -> None:
    committed: list[list[int]] = []

    async def main() -> None:
        batch: CommitBuffer[int, None] = CommitBuffer(committed.append)
        assert await batch.settle(0, 9e9) is None
        batch.add(1)
        await batch.settle(2, 9e9)
        assert committed == []
        batch.add(2)
        await batch.settle(2, 9e9)
        batch.add(3)
        await batch.settle(2, 0.0)
        batch.add(4)
        await batch.settle(0, 9e9)

    asyncio.run(main())
    assert committed == [[1, 2], [3], [4]]


def test_a_batch_that_was_refused_comes_with_the_next() -> None:
    committed: list[list[int]] = []

    def commit(items: list[int]) -> int:
        if not committed:
            committed.append([])
            raise StoreBusy("another process writes")
        committed.append(items)
        return len(items)

    async def main() -> int | None:
        batch = CommitBuffer(commit)
        batch.add(1)
        with pytest.raises(StoreBusy):
            await batch.settle(0, 0.0)
        batch.add(2)
        return await batch.settle(0, 0.0)

    assert asyncio.run(main()) == 2
    assert committed == [[], [1, 2]]


def test_a_commit_goes_on_to_its_end_when_whoever_waits_is_cancelled() -> None:
    began, finish, committed = asyncio.Event(), asyncio.Event(), []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def commit(items: list[int]) -> None:
            loop.call_soon_threadsafe(began.set)
            asyncio.run_coroutine_threadsafe(finish.wait(), loop).result()
            committed.extend(items)

        batch = CommitBuffer(commit)
        batch.add(1)
        task = asyncio.create_task(batch.settle(0, 0.0))
        await began.wait()
        task.cancel()
        await asyncio.sleep(0)
        finish.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert committed == [1]

    asyncio.run(main())
