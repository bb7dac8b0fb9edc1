"""The wait of a run for its admission, told as events and recorded like every external call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hoptrail.agents.budget.admission import FairSemaphore
from hoptrail.agents.events import Admitted, Listener, Waiting
from hoptrail.agents.runs.interceptor import Cancelled, ExternalCall, Interceptor
from hoptrail.agents.types import StopReason


@asynccontextmanager
async def admitted(
    places: FairSemaphore | None, interceptor: Interceptor, seconds: float, emit: Listener
) -> AsyncIterator[StopReason | None]:
    """Waits for a place and holds it; yields why there is none, or None once there is.

    Args:
        places: None in a replay, which takes what was recorded.
        interceptor: the run's; the wait is a call of kind `clock.admission`.
        seconds: those of the run's budget that are left.
        emit: hears `Waiting` and `Admitted`, if it has to be waited for.
    """
    held: list[FairSemaphore] = []

    async def live() -> bool:
        assert places is not None, "a replay makes no live call"
        waited = await places.acquire(seconds, lambda ahead: emit(Waiting(ahead=ahead)))
        held.append(places)
        return waited

    call = ExternalCall(kind="clock.admission", arguments=dict, live=live, encode=bool, decode=bool)
    stop: StopReason | None = None
    try:
        try:
            began = interceptor.seconds()
            if await interceptor.call(call):
                emit(Admitted(seconds=round(interceptor.seconds() - began, 3)))
        except TimeoutError:
            stop = "out_of_time"
        except Cancelled:
            stop = "cancelled"
        yield stop
    finally:
        for one in held:
            one.release()
