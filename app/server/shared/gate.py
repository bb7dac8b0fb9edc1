"""The gate of questions: how many are in flight, of each key and of all; the next is refused."""

from __future__ import annotations

import asyncio
from collections import Counter

from hoptrail.app.server.api_errors import ApiError, overloaded
from hoptrail.app.server.server_settings import ApiKey


class Gate:
    """Counts the questions in flight. For one event loop.

    Args:
        most: of all keys together.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_key: Counter[str] = Counter()
        self._cancels: set[asyncio.Event] = set()
        self.draining = False
        """Whether no further question is let in."""

    def __len__(self) -> int:
        return len(self._cancels)

    def enter(self, key: ApiKey) -> asyncio.Event:
        """Takes a place; returns the event that ends the question early.

        Raises:
            ApiError: status 429, all places are taken; 503, the server is about to stop.
        """
        if self.draining:
            raise ApiError(503, "stopping", "The server is stopping.", headers={"Retry-After": "5"})
        if self._by_key[key.name] >= key.questions:
            raise overloaded(f"This API key has {key.questions} questions in flight: wait for one.")
        if len(self._cancels) >= self._most:
            raise overloaded("The server has as many questions in flight as it may: try again.")
        self._by_key[key.name] += 1
        cancel = asyncio.Event()
        self._cancels.add(cancel)
        return cancel

    def leave(self, key: ApiKey, cancel: asyncio.Event) -> None:
        """Gives a place back."""
        self._cancels.remove(cancel)
        self._by_key[key.name] -= 1

    def cancel_all(self) -> None:
        """Ends every question in flight with the best answer so far."""
        for cancel in self._cancels:
            cancel.set()
