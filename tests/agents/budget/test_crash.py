"""A ledger that is killed and goes on: what was under way counts, in tokens and in time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clock import Clock

from hoptrail.agents.budget import heartbeat
from hoptrail.agents.budget.heartbeat import LATE, Heartbeat
from hoptrail.agents.budget.ledger import (
    Budget,
    BudgetStop,
    Ledger,
    OutOfBudget,
    Reservation,
    Share,
    Usage,
)
from hoptrail.agents.budget.limits import ReportedUsage

BUDGET = Budget(calls=10, tokens=1_000, searches=3, seconds=60.0)
NOON = 1_700_000_000.0


@dataclass
class Machine:
    """A process with a ledger, its clocks, and the file that a kill leaves behind."""

    folder: Path
    budget: Budget = BUDGET
    alive: float = 0.0
    """Seconds that the run's processes have lived."""
    wall: float = NOON
    lives: int = 0
    old: list[Ledger] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ledger = self._open()

    @property
    def path(self) -> Path:
        return self.folder / f"ledger-{self.lives}"

    def wait(self, seconds: float) -> None:
        self.alive += seconds
        self.wall += seconds

    def kill(self, dead: float) -> None:
        """Kills the process at once, and begins another one `dead` seconds later."""
        data, died = self.path.read_bytes(), self.wall
        self.old.append(self.ledger)
        self.lives += 1
        self.path.write_bytes(data)
        os.utime(self.path, (died, died))
        self.wall += dead
        self.ledger = self._open()

    def close(self) -> None:
        for ledger in (*self.old, self.ledger):
            ledger.close()

    def _open(self) -> Ledger:
        lives, began = self.lives, self.alive
        clock = lambda: 7.0 * lives + self.alive - began  # noqa: E731 - each process has its own
        return Ledger.open(self.path, self.budget, clock, wall=lambda: self.wall)


@pytest.fixture
def machine(tmp_path: Path) -> Any:  # noqa: ANN401
    made = Machine(tmp_path)
    yield made
    made.close()


def call(machine: Machine, timeout: float = 20.0) -> Reservation:
    return machine.ledger.reserve_call(
        node="n", prompt_tokens=100, completion_tokens=50, timeout=timeout
    )


def test_the_time_of_a_call_that_was_under_way_counts(machine: Machine) -> None:
    machine.wait(3)
    call(machine)
    machine.wait(5)
    machine.kill(dead=0.5)
    assert machine.ledger.elapsed() == pytest.approx(8.5)
    assert machine.ledger.spent().tokens == 150


def test_the_time_that_the_process_was_dead_does_not_count(machine: Machine) -> None:
    call(machine)
    machine.wait(5)
    machine.kill(dead=86_400)
    assert machine.ledger.elapsed() == pytest.approx(5 + LATE)


def test_a_call_counts_no_longer_than_its_own_limit(machine: Machine) -> None:
    call(machine, timeout=4)
    machine.wait(30)  # the process was stopped, with the call in it
    machine.kill(dead=86_400)
    assert machine.ledger.elapsed() == pytest.approx(4)


def test_where_the_wall_clock_was_set_back_the_calls_limit_counts(machine: Machine) -> None:
    call(machine, timeout=12)
    machine.wall -= 3_600
    machine.kill(dead=0)
    assert machine.ledger.elapsed() == pytest.approx(12)


def test_parallel_calls_count_once(machine: Machine) -> None:
    for _ in range(3):
        call(machine)
        machine.wait(2)
    machine.kill(dead=86_400)
    assert machine.ledger.elapsed() == pytest.approx(6 + LATE)


def test_what_was_counted_for_one_crash_is_not_counted_again_for_the_next(
    machine: Machine,
) -> None:
    call(machine)
    machine.wait(1)
    for crashes in range(1, 4):
        machine.kill(dead=3_600)
        assert machine.ledger.elapsed() == pytest.approx(1 + LATE), crashes
    assert machine.ledger.spent().calls == 1


def test_a_run_killed_in_every_call_ends_out_of_time(machine: Machine) -> None:
    for _ in range(6):  # 11 seconds each of 60
        call(machine)
        machine.wait(9)
        machine.kill(dead=3_600)
    with pytest.raises(OutOfBudget) as out:
        call(machine)
    assert out.value.stop == "out_of_time"


def test_a_search_that_was_under_way_counts_too(machine: Machine) -> None:
    machine.ledger.reserve_search(node="n")
    machine.wait(5)
    machine.kill(dead=0)
    assert machine.ledger.elapsed() == pytest.approx(5)


def test_a_ledger_of_the_version_before_goes_on(tmp_path: Path) -> None:
    lines = (
        '{"op":"open","v":1,"budget":{"calls":10,"tokens":1000,"searches":3,"seconds":60.0},"t":0}',
        '{"op":"reserve","id":0,"node":"n","kind":"call","share":null,'
        '"prompt_tokens":100,"completion_tokens":50,"t":2.0}',
    )
    (tmp_path / "ledger").write_text("\n".join(lines) + "\n")
    ledger = Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    assert ledger.spent() == Usage(
        calls=1, prompt_tokens=100, completion_tokens=50, seconds=pytest.approx(2.0)
    )
    ledger.close()


def test_an_open_ledger_is_touched_until_it_is_closed(tmp_path: Path) -> None:
    path, touched = tmp_path / "ledger", threading.Event()
    path.touch()
    os.utime(path, (1, 1))
    beats = Heartbeat(beat=0.01)
    beats.begin(path)
    while path.stat().st_mtime == 1:
        touched.wait(0.01)
    beats.end(path)
    thread = beats._thread
    if thread is not None:
        thread.join()
    os.utime(path, (1, 1))
    assert beats._thread is None
    assert path.stat().st_mtime == 1


def test_the_life_of_a_killed_process_is_known_to_a_beat(tmp_path: Path) -> None:
    program = """
import os, sys, time
from pathlib import Path
from hoptrail.agents.budget.ledger import Budget, Ledger
ledger = Ledger.open(Path(sys.argv[1]), Budget(seconds=60.0))
ledger.reserve_call(node="n", prompt_tokens=1, completion_tokens=1)
written = Path(sys.argv[1]).stat().st_mtime
while Path(sys.argv[1]).stat().st_mtime < written + 1:
    time.sleep(0.05)
os.kill(os.getpid(), 9)
"""
    path = tmp_path / "ledger"
    done = subprocess.run([sys.executable, "-P", "-c", program, str(path)], check=False)
    assert done.returncode == -9
    ledger = Ledger.open(path, Budget(seconds=60.0), Clock(), wall=lambda: NOON + 10**9)
    assert 1.0 <= ledger.elapsed() < 60.0
    ledger.close()


def test_a_ledger_that_cannot_be_begun_leaves_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(Exception, match="free some disk space"):
            Ledger.open(tmp_path / "ledger", BUDGET, Clock())
    Ledger.open(tmp_path / "ledger", BUDGET, Clock()).close()
    assert tmp_path / "ledger" not in heartbeat.HEARTBEAT._paths


# Whatever happens

counts = st.integers(-10, 700) | st.integers()
outcomes = st.one_of(
    st.sampled_from(["none", "forfeit", "release"]),
    st.tuples(counts, counts | st.booleans(), st.booleans()),
)
steps_taken = st.lists(
    st.one_of(
        st.tuples(
            st.just("call"), st.integers(0, 300), st.integers(0, 300), st.integers(0, 3),
            st.floats(0.1, 30),
        ),
        st.tuples(st.just("search"), st.integers(0, 3)),
        st.tuples(st.just("settle"), st.integers(0, 9), outcomes),
        st.tuples(st.just("wait"), st.floats(0, 20)),
        st.tuples(st.just("divide"), st.integers(1, 4)),
        st.tuples(st.just("kill"), st.floats(0, 10**6)),
    ),
    max_size=30,
)  # fmt: skip
budgets = st.builds(
    Budget,
    calls=st.integers(0, 8),
    tokens=st.integers(0, 1_500),
    searches=st.integers(1, 4),
    seconds=st.floats(1, 100),
)


class Model:
    """Random steps on a ledger, and what must hold after each."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.shares: list[Share | None] = [None]
        self.open: list[Reservation] = []
        self.above: dict[str | None, int] = {}
        """Tokens reported above reservations, by share; None: in all."""
        self.least = Usage()
        """What has surely been spent."""
        self.most_seconds = 0.0
        self.lines: dict[int, Usage] = {}
        """Usage by the size of the file."""

    def take(self, step: tuple[Any, ...]) -> None:
        before, stop = self.machine.ledger.left(), None
        try:
            getattr(self, f"_{step[0]}")(*step[1:])
        except OutOfBudget as out:
            stop = out.stop
        if stop is not None:
            assert stop in get_args(BudgetStop)
            assert (stop == "out_of_time") == (before.seconds <= 0)
            assert self.machine.ledger.left() == before, "nothing was set aside"
        self.check()

    def check(self) -> None:
        machine, budget = self.machine, self.machine.budget
        spent, left = machine.ledger.spent(), machine.ledger.left()
        assert self.least.calls == spent.calls <= budget.calls
        assert self.least.searches == spent.searches <= budget.searches
        assert spent.tokens <= budget.tokens + self.above.get(None, 0)
        assert left.tokens == budget.tokens - spent.tokens
        assert min(spent.prompt_tokens, spent.completion_tokens) >= 0
        assert spent.seconds <= self.most_seconds + 1e-3
        for share in self.shares[1:]:
            assert share is not None
            used = machine.ledger._charges.total(share.id)
            assert used.calls <= share.calls
            assert used.searches <= share.searches
            assert used.tokens <= share.tokens + self.above.get(share.id, 0)
        if self.above.get(None, 0) and left.tokens < 0 and left.calls and left.seconds:
            with pytest.raises(OutOfBudget, match="out_of_tokens"):
                machine.ledger.reserve_call(node="n", prompt_tokens=0, completion_tokens=0)
        self.lines[machine.path.stat().st_size] = spent

    def _call(self, prompt: int, completion: int, pick: int, timeout: float) -> None:
        made = self.machine.ledger.reserve_call(
            node="n", prompt_tokens=prompt, completion_tokens=completion, least=0,
            share=self.shares[pick % len(self.shares)], timeout=timeout,
        )  # fmt: skip
        self.open.append(made)
        self.least += Usage(calls=1)

    def _search(self, pick: int) -> None:
        share = self.shares[pick % len(self.shares)]
        self.open.append(self.machine.ledger.reserve_search(node="n", share=share))
        self.least += Usage(searches=1)

    def _settle(self, pick: int, outcome: Any) -> None:  # noqa: ANN401
        if not self.open:
            return
        made = self.open.pop(pick % len(self.open))
        ledger, whole = self.machine.ledger, made.whole().tokens
        if made.kind == "search":
            ledger.settle_search(made)
        elif outcome == "release":
            assert ledger.release(made).tokens == 0
        elif outcome == "forfeit":
            assert ledger.forfeit(made).tokens == whole
        elif outcome == "none":
            assert ledger.settle(made, None).tokens == whole
        else:
            prompt, completion, replied = outcome
            report = ReportedUsage(prompt_tokens=prompt, completion_tokens=completion)
            usage = ledger.settle(made, report, replied=replied)
            reported = (usage.prompt_tokens, usage.completion_tokens) == (prompt, completion)
            assert reported or usage == made.whole()
            above = max(0, usage.tokens - whole)
            for share in {None, made.share}:
                self.above[share] = self.above.get(share, 0) + above

    def _wait(self, seconds: float) -> None:
        self.machine.wait(seconds)
        self.most_seconds += seconds

    def _divide(self, n: int) -> None:
        self.shares = [None, *self.machine.ledger.divide(n)]

    def _kill(self, dead: float) -> None:
        before, lived = self.machine.ledger.spent(), self.machine.ledger.elapsed()
        ends = [made.began + made.seconds for made in self.open]
        self.most_seconds += min(dead, LATE)
        self.machine.kill(dead)
        after = self.machine.ledger.spent()
        assert (after.calls, after.prompt_tokens, after.completion_tokens, after.searches) == (
            before.calls, before.prompt_tokens, before.completion_tokens, before.searches
        )  # fmt: skip
        if ends:  # a call may have been under way until the end, or until its own limit
            assert after.seconds >= min(lived, max(ends)) - 1e-3
        self.open = []  # those of a process that is dead
        self.lines = {}


@settings(max_examples=100, deadline=None)
@given(budget=budgets, steps=steps_taken)
def test_whatever_happens_the_budget_holds_and_the_file_forgets_nothing(
    budget: Budget, steps: list[tuple[Any, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    machine = Machine(tmp_path_factory.mktemp("ledger"), budget)
    model = Model(machine)
    for step in steps:
        model.take(step)
    machine.close()
    _killed_at_every_line(machine, model)


def _killed_at_every_line(machine: Machine, model: Model) -> None:
    """Opens each beginning of the file that ends with a line, as a kill leaves it."""
    data, path = machine.path.read_bytes(), machine.folder / "cut"
    for size, spent in model.lines.items():
        assert data[:size].endswith(b"\n")
        path.write_bytes(data[:size])
        cut = Ledger.open(path, machine.budget, Clock(), wall=lambda: machine.wall)
        found = cut.spent()
        assert (found.calls, found.tokens, found.searches) == (
            spent.calls, spent.tokens, spent.searches
        )  # fmt: skip
        cut.close()
