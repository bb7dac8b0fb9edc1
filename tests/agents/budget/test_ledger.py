"""The budget: bounds that hold whatever is reported, and survive a crash at any byte."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest
from support.clock import Clock

from hoptrail.agents.budget.journal import Journal, JournalError
from hoptrail.agents.budget.ledger import (
    Budget,
    Ledger,
    Left,
    OutOfBudget,
    Reservation,
    Usage,
)
from hoptrail.agents.budget.limits import MOST_REPORTED, ReportedUsage
from hoptrail.rag.errors import SettingsError, StoreFull

BUDGET = Budget(calls=10, tokens=1_000, searches=3, seconds=60.0)


def reported(prompt: int, completion: int) -> ReportedUsage:
    return ReportedUsage(prompt_tokens=prompt, completion_tokens=completion)


def reserve(ledger: Ledger, prompt: int = 100, completion: int = 50) -> Reservation:
    return ledger.reserve_call(node="n", prompt_tokens=prompt, completion_tokens=completion)


def stop_of(out: pytest.ExceptionInfo[OutOfBudget]) -> str:
    return out.value.stop


# Budgets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("calls", -1),
        ("calls", True),
        ("calls", 2.0),
        ("tokens", -1),
        ("searches", 0),
        ("searches", -1),
        ("seconds", 0),
        ("seconds", -1.0),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("seconds", "60"),
    ],
)
def test_a_senseless_budget_is_refused_with_what_makes_sense(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        Budget(**{name: value})  # type: ignore[arg-type]
    assert f"The budget of {name} is {value!r}" in str(caught.value)
    assert "give a" in str(caught.value)


def test_no_calls_is_a_budget_without_a_model() -> None:
    ledger = Ledger.open(None, Budget(calls=0, tokens=0), Clock())
    with pytest.raises(OutOfBudget) as out:
        reserve(ledger, 0, 0)
    assert stop_of(out) == "out_of_calls"
    ledger.reserve_search(node="retrieve")


def test_usage_adds_up() -> None:
    one = Usage(calls=1, prompt_tokens=2, completion_tokens=3, searches=4, seconds=5.5)
    two = one + one
    assert [getattr(two, f.name) for f in fields(Usage)] == [2, 4, 6, 8, 11.0]
    assert one.tokens == 5


# Reserving and settling


def test_a_reservation_counts_whole_until_it_is_settled() -> None:
    ledger = Ledger.open(None, BUDGET, Clock())
    reservation = reserve(ledger)
    assert ledger.spent() == Usage(calls=1, prompt_tokens=100, completion_tokens=50)
    assert ledger.settle(reservation, reported(80, 20)) == Usage(
        calls=1, prompt_tokens=80, completion_tokens=20
    )
    assert ledger.spent() == Usage(calls=1, prompt_tokens=80, completion_tokens=20)
    assert ledger.left() == Left(calls=9, tokens=900, searches=3, seconds=60.0)
    assert ledger.flags == ()


def test_a_reply_is_cut_to_the_tokens_left_but_not_below_its_least() -> None:
    ledger = Ledger.open(None, Budget(tokens=150), Clock())
    reservation = ledger.reserve_call(node="n", prompt_tokens=100, completion_tokens=400, least=50)
    assert reservation.completion_tokens == 50
    ledger.settle(reservation, reported(90, 11))
    with pytest.raises(OutOfBudget) as out:
        ledger.reserve_call(node="n", prompt_tokens=40, completion_tokens=400, least=10)
    assert stop_of(out) == "out_of_tokens"
    assert ledger.spent().calls == 1


@pytest.mark.parametrize(
    "lie",
    [
        None,
        reported(-1, 10),
        reported(10, -1),
        reported(0, 0),
        reported(0, 10),
        reported(10, 0),
        reported(MOST_REPORTED + 1, 10),
        reported(10, MOST_REPORTED + 1),
        reported(10**5000, 1),
        ReportedUsage(prompt_tokens=True, completion_tokens=1),
        ReportedUsage(prompt_tokens=1.5, completion_tokens=1),  # type: ignore[arg-type]
    ],
)
def test_usage_that_cannot_be_true_is_flagged_and_the_reservation_kept(
    lie: ReportedUsage | None, tmp_path: Path
) -> None:
    ledger = Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    charged = ledger.settle(reserve(ledger), lie)
    assert charged == Usage(calls=1, prompt_tokens=100, completion_tokens=50)
    assert ledger.spent() == charged
    (flag,) = ledger.flags
    assert (flag.node, flag.count) == ("n", 1)
    ledger.close()
    resumed = Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    assert resumed.flags == (flag,)
    assert resumed.spent() == charged
    resumed.close()


@pytest.mark.parametrize("usage", [reported(1, 1), reported(100, 50)])
def test_the_ends_of_a_reservation_are_believed(usage: ReportedUsage) -> None:
    ledger = Ledger.open(None, BUDGET, Clock())
    ledger.settle(reserve(ledger), usage)
    assert ledger.flags == ()


def test_usage_above_the_reservation_is_charged_as_reported_and_then_nothing_is_reserved() -> None:
    ledger = Ledger.open(None, Budget(calls=10, tokens=8_000), Clock())
    ledger.settle(reserve(ledger, 1_500, 25), reported(25_000, 25))  # the server adds to prompts
    with pytest.raises(OutOfBudget) as out:
        reserve(ledger, 0, 0)
    assert stop_of(out) == "out_of_tokens"
    assert ledger.left().tokens == 8_000 - 25_025
    assert ledger.spent().tokens == 25_025
    (flag,) = ledger.flags
    assert str(flag) == "n: prompt_tokens 25000 is above the 1500 reserved, and counted"
    assert [share.tokens for share in ledger.divide(2)] == [0, 0]


def test_no_tokens_for_a_reply_without_text_are_believed() -> None:
    ledger = Ledger.open(None, BUDGET, Clock())
    assert ledger.settle(reserve(ledger), reported(80, 0), replied=False).tokens == 80
    assert ledger.flags == ()


def test_flags_are_the_same_in_every_order_of_settlement_and_equal_ones_are_counted() -> None:
    def flags(order: Sequence[int]) -> list[str]:
        ledger = Ledger.open(None, Budget(calls=10, tokens=10_000), Clock())
        shares = ledger.divide(3)
        reports = [None, reported(10, 99), None, reported(-1, 1), reported(0, 5)]
        made = {
            number: ledger.reserve_call(
                node="ab"[number % 2],
                prompt_tokens=100,
                completion_tokens=50,
                share=shares[number % 3],
            )
            for number in order
        }
        for number in reversed(order):
            ledger.settle(made[number], reports[number])
        return [str(flag) for flag in ledger.flags]

    expected = [
        "a: no usage reported (× 2)",
        "a: prompt_tokens 0 for a text that is not empty",
        "b: completion_tokens 99 is above the 50 reserved, and counted",
        "b: prompt_tokens -1 cannot be true",
    ]
    for order in itertools.permutations(range(5)):
        assert flags(order) == expected


def test_a_forfeited_call_counts_whole_and_is_no_lie() -> None:
    ledger = Ledger.open(None, BUDGET, Clock())
    ledger.forfeit(reserve(ledger))
    assert ledger.spent().tokens == 150
    assert ledger.flags == ()


def test_settling_twice_is_a_bug() -> None:
    ledger = Ledger.open(None, BUDGET, Clock())
    reservation = reserve(ledger)
    ledger.forfeit(reservation)
    with pytest.raises(AssertionError, match="twice"):
        ledger.settle(reservation, None)


def test_each_limit_stops_with_its_own_name() -> None:
    clock = Clock()
    ledger = Ledger.open(None, Budget(calls=1, tokens=100, searches=1, seconds=5), clock)
    with pytest.raises(OutOfBudget) as out:
        reserve(ledger, 100, 1)
    assert stop_of(out) == "out_of_tokens"
    reserve(ledger, 50, 50)
    with pytest.raises(OutOfBudget) as out:
        reserve(ledger, 0, 0)
    assert stop_of(out) == "out_of_calls"
    ledger.settle_search(ledger.reserve_search(node="r"))
    with pytest.raises(OutOfBudget) as out:
        ledger.reserve_search(node="r")
    assert stop_of(out) == "out_of_searches"
    clock.now += 5
    for reserving in (lambda: reserve(ledger), lambda: ledger.reserve_search(node="r")):
        with pytest.raises(OutOfBudget) as out:
            reserving()
        assert stop_of(out) == "out_of_time"
    assert ledger.seconds_left() == 0
    assert ledger.spent() == Usage(
        calls=1, prompt_tokens=50, completion_tokens=50, searches=1, seconds=5.0
    )


# Fan-outs


def test_what_is_left_is_divided_in_order_with_the_remainder_first() -> None:
    ledger = Ledger.open(None, Budget(calls=11, tokens=1_000, searches=2), Clock())
    ledger.release(reserve(ledger))
    shares = ledger.divide(3)
    assert [(s.calls, s.tokens, s.searches) for s in shares] == [
        (4, 334, 1),
        (3, 333, 1),
        (3, 333, 0),
    ]
    assert len({s.id for s in (*shares, *ledger.divide(3))}) == 6


def test_a_share_is_a_cap_and_the_others_keep_theirs() -> None:
    ledger = Ledger.open(None, Budget(calls=4, tokens=400, searches=2), Clock())
    first, second = ledger.divide(2)

    def reserve_from(share: object, tokens: int) -> Reservation:
        return ledger.reserve_call(
            node="n",
            prompt_tokens=tokens,
            completion_tokens=0,
            share=share,  # type: ignore[arg-type]
        )

    with pytest.raises(OutOfBudget) as out:
        reserve_from(first, 201)
    assert stop_of(out) == "out_of_tokens"
    reserve_from(first, 100)
    reserve_from(first, 100)
    with pytest.raises(OutOfBudget) as out:
        reserve_from(first, 0)
    assert stop_of(out) == "out_of_calls"
    ledger.reserve_search(node="n", share=first)
    with pytest.raises(OutOfBudget) as out:
        ledger.reserve_search(node="n", share=first)
    assert stop_of(out) == "out_of_searches"
    assert ledger.left(second) == Left(calls=2, tokens=200, searches=1, seconds=120.0)


def test_what_a_share_did_not_use_is_still_there() -> None:
    ledger = Ledger.open(None, Budget(calls=4, tokens=400), Clock())
    first, _ = ledger.divide(2)
    reservation = ledger.reserve_call(node="n", prompt_tokens=200, completion_tokens=0, share=first)
    ledger.settle(reservation, reported(10, 0), replied=False)
    assert ledger.left(first).tokens == 190
    assert ledger.left().tokens == 390


def test_a_share_goes_on_after_a_crash_with_what_it_had_left(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    share = ledger.divide(2)[1]
    ledger.reserve_search(node="n", share=share)
    ledger.close()
    resumed = Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    assert resumed.left(share).searches == 0
    assert resumed.left().searches == 2
    assert share.id not in {s.id for s in resumed.divide(2)}
    resumed.close()


def test_parallel_reservations_never_exceed_the_budget() -> None:
    ledger = Ledger.open(None, Budget(calls=200, tokens=5_000), Clock())
    stops: list[str] = []

    def spend() -> None:
        try:
            while True:
                reserve(ledger, 10, 10)
        except OutOfBudget as out:
            stops.append(out.stop)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stops == ["out_of_calls"] * 8
    assert ledger.spent() == Usage(calls=200, prompt_tokens=2_000, completion_tokens=2_000)


# The file


def test_a_crash_leaves_unsettled_reservations_spent(tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from hoptrail.agents.budget.ledger import Budget, BudgetStop, Ledger
from hoptrail.agents.budget.limits import MOST_REPORTED, ReportedUsage
ledger = Ledger.open(Path(sys.argv[1]), Budget(calls=10, tokens=1000, searches=3, seconds=60.0))
one = ledger.reserve_call(node="plan", prompt_tokens=100, completion_tokens=50)
ledger.settle(one, ReportedUsage(prompt_tokens=7, completion_tokens=3))
ledger.reserve_call(node="answer", prompt_tokens=200, completion_tokens=60)
ledger.reserve_search(node="retrieve")
os.kill(os.getpid(), 9)
"""
    path = tmp_path / "ledger"
    done = subprocess.run([sys.executable, "-P", "-c", program, str(path)], check=False)
    assert done.returncode == -9
    ledger = Ledger.open(path, BUDGET, Clock())
    spent = ledger.spent()
    assert (spent.calls, spent.prompt_tokens, spent.completion_tokens) == (2, 207, 63)
    assert spent.searches == 1
    assert spent.seconds > 0
    ledger.close()


def test_time_goes_on_where_the_last_line_stood(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger.open(tmp_path / "ledger", BUDGET, clock)
    clock.now += 25
    ledger.close()
    other = Clock(3.0)
    resumed = Ledger.open(tmp_path / "ledger", BUDGET, other)
    assert resumed.elapsed() == pytest.approx(25)
    other.now += 10
    assert resumed.seconds_left() == pytest.approx(25)
    resumed.close()


def test_a_torn_last_line_is_dropped_and_the_file_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger.open(path, BUDGET, Clock())
    reserve(ledger)
    ledger.close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op":"reserve","id":1,"no')
    resumed = Ledger.open(path, BUDGET, Clock())
    assert resumed.spent().calls == 1
    reserve(resumed)
    resumed.close()
    again = Ledger.open(path, BUDGET, Clock())
    assert again.spent().calls == 2
    again.close()


def test_a_file_cut_anywhere_opens_with_what_its_whole_lines_say(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger.open(path, BUDGET, Clock())
    ledger.settle(reserve(ledger), reported(1, 1))
    ledger.reserve_search(node="r")
    ledger.close()
    whole = path.read_bytes()
    # By complete lines: none, the header, a call reserved, settled, a search reserved, the end.
    expected = [(0, 0, 0), (0, 0, 0), (1, 150, 0), (1, 2, 0), (1, 2, 1), (1, 2, 1)]
    assert whole.count(b"\n") == len(expected) - 1
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        cut = Ledger.open(path, BUDGET, Clock())
        spent = cut.spent()
        assert (spent.calls, spent.tokens, spent.searches) == (expected[whole[:size].count(b"\n")])
        cut.close()


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[]\n", b'{"op":"settle","id":9}\n', b'{"op":"reserve"}\n']
)
def test_a_damaged_file_is_told(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    Ledger.open(path, BUDGET, Clock()).close()
    path.write_bytes(path.read_bytes() + line + b'{"op":"tick","t":0}\n')
    for _ in range(2):  # and the lock is not kept
        with pytest.raises(JournalError, match="delete the run"):
            Ledger.open(path, BUDGET, Clock())


def test_a_ledger_of_another_budget_is_refused(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger", BUDGET, Clock()).close()
    with pytest.raises(SettingsError, match="resume it with the same"):
        Ledger.open(tmp_path / "ledger", Budget(), Clock())


def test_a_run_that_is_still_going_is_not_resumed(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    with pytest.raises(JournalError, match="still going"):
        Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    ledger.close()
    Ledger.open(tmp_path / "ledger", BUDGET, Clock()).close()


def test_a_reservation_that_cannot_be_written_is_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger.open(path, BUDGET, Clock())
    size = path.stat().st_size
    write = os.write

    def half(fd: int, data: bytes) -> int:
        if len(data) > 20:
            return write(fd, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        patch.setattr("json.dumps", lambda *_, **__: "x" * 30)
        with pytest.raises(StoreFull, match="free some disk space"):
            reserve(ledger)
    assert path.stat().st_size == size
    assert ledger.spent().calls == 0
    reserve(ledger)
    ledger.close()
    assert [json.loads(line)["op"] for line in path.read_text().splitlines()] == [
        "open",
        "reserve",
        "tick",
    ]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match="Cannot open"):
        Journal(tmp_path / "file" / "ledger")
