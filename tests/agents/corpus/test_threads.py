"""The pool of threads with deadlines: hanging calls, their replacements, and the limit of these."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from threading import Event

import pytest

from hoptrail.agents.corpus import threads as module
from hoptrail.agents.corpus.threads import Threads, given_up

SOON, LATE = 0.05, 60.0


def refused(count: int) -> Exception:
    return ConnectionError(f"{count} hang")


def pool(count: int = 1) -> Threads:
    return Threads("test", count, hung=refused)


def test_results_and_errors_come_back() -> None:
    async def main() -> None:
        threads = pool(2)
        found = await asyncio.gather(*(threads.run(lambda n=n: n * n, LATE) for n in range(50)))  # type: ignore[misc]
        assert found == [n * n for n in range(50)]
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 / 0, LATE)
        assert threads.close()
        with pytest.raises(RuntimeError, match="closed"):
            await threads.run(lambda: 1, LATE)

    asyncio.run(main())


def test_a_call_that_hangs_beyond_its_deadline_does_not_keep_others_from_the_pool() -> None:
    go_on = Event()

    async def main() -> None:
        threads = pool()
        with pytest.raises(TimeoutError):
            await threads.run(lambda: go_on.wait(LATE), SOON)
        assert await threads.run(lambda: "innocent", LATE) == "innocent"
        assert not threads.close(), "one call is still inside"

    try:
        asyncio.run(main())
    finally:
        go_on.set()


def test_a_call_that_only_takes_long_gets_a_replacement_before_its_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PATIENCE", SOON)
    go_on = Event()

    async def main() -> None:
        threads = pool()
        slow = asyncio.create_task(threads.run(lambda: go_on.wait(LATE), LATE))
        assert await threads.run(lambda: "innocent", LATE) == "innocent"
        assert not slow.done()
        go_on.set()
        assert await slow is True
        assert await threads.run(lambda: "still one thread", LATE)
        assert threads.close()

    asyncio.run(main())


def test_when_too_many_hang_new_calls_fail_at_once_until_one_comes_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_REPLACED", 3)
    go_on = Event()

    async def main() -> None:
        threads = pool()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await threads.run(lambda: go_on.wait(LATE), SOON)
        with pytest.raises(ConnectionError, match="3 hang"):
            await threads.run(lambda: "never made", LATE)
        go_on.set()
        async with asyncio.timeout(LATE):
            while True:
                try:
                    assert await threads.run(lambda: "made", LATE) == "made"
                except ConnectionError:
                    await asyncio.sleep(0.01)
                else:
                    break
        threads.close()

    try:
        asyncio.run(main())
    finally:
        go_on.set()


def test_a_call_that_nobody_waits_for_is_told_so_and_one_that_waits_is_never_made() -> None:
    told, went_on, made = Event(), Event(), Event()

    def work() -> None:
        went_on.wait(LATE)
        if given_up():
            told.set()

    async def main() -> None:
        threads = pool()
        task = asyncio.create_task(threads.run(work, LATE))
        await asyncio.sleep(0)
        queued = asyncio.create_task(threads.run(made.set, SOON))
        while not threads._inside:
            await asyncio.sleep(0.001)
        with pytest.raises(TimeoutError):
            await queued
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        went_on.set()
        assert await asyncio.to_thread(told.wait, LATE)
        await threads.run(lambda: None, LATE)
        assert not made.is_set()
        assert not given_up(), "this thread makes no call of a pool"
        threads.close()

    asyncio.run(main())


def test_a_process_that_ends_waits_for_native_calls_but_not_for_ever() -> None:
    """A thread that the end overtakes inside native code would abort the process."""
    code = """
import asyncio, time
from hoptrail.agents.corpus import threads
from hoptrail.agents.corpus.threads import Threads, given_up

def batches():
    while not given_up():
        time.sleep(0.01)
    print("given up", flush=True)

async def main(work):
    try:
        await Threads("test", 1, hung=lambda count: RuntimeError()).run(work, 0.05)
    except TimeoutError:
        pass

threads._current = type("Deaf", (), {"call": None})()  # only the end is heard
threads.EXIT_SECONDS = 0.5
asyncio.run(main(batches))
asyncio.run(main(lambda: time.sleep(3600)))
"""
    ended = subprocess.run(
        [sys.executable, "-P", "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up\n", "")
