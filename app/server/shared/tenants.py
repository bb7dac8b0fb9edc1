"""The open stores of a server: one a tenant, a bounded number at a time, the idle ones closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from hoptrail.agents.knowledge_base import KnowledgeBase
from hoptrail.app.server.api_errors import overloaded


@dataclass(slots=True, eq=False)
class _Place:
    """A tenant's store, and how many use it at this moment."""

    users: int = 0
    opened: KnowledgeBase | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: asyncio.Lock = field(default_factory=asyncio.Lock)


class Tenants:
    """Lends out knowledge bases. For one event loop.

    Args:
        open_store: opens the store of a tenant; called in a thread.
        most: stores that are open at one time.
    """

    def __init__(self, open_store: Callable[[str], KnowledgeBase], most: int) -> None:
        self._open_store, self._most = open_store, most
        self._places: dict[str, _Place] = {}
        """Least recently used first."""

    def __len__(self) -> int:
        return len(self._places)

    @asynccontextmanager
    async def reading(self, tenant: str) -> AsyncIterator[KnowledgeBase]:
        """The knowledge base of a tenant; it stays open until the end of the block.

        Raises:
            ApiError: as many stores as may be open are in use by other tenants.
            StoreError: it cannot be opened.
        """
        place = await self._taken(tenant)
        try:
            async with place.lock:
                if place.opened is None:
                    place.opened = await asyncio.to_thread(self._open_store, tenant)
            yield place.opened
        finally:
            place.users -= 1
            if place.opened is None and not place.users:  # it could not be opened
                del self._places[tenant]

    @asynccontextmanager
    async def writing(self, tenant: str) -> AsyncIterator[KnowledgeBase]:
        """As `reading`, for one who changes documents: one at a time."""
        async with self.reading(tenant) as opened, self._places[tenant].writing:
            yield opened

    async def close(self) -> None:
        """Closes every store."""
        places, self._places = self._places, {}
        for place in places.values():
            if place.opened is not None:
                await asyncio.to_thread(place.opened.close)

    async def _taken(self, tenant: str) -> _Place:
        """The place of a tenant, with one more user, now the most recently used."""
        place = self._places.pop(tenant, None)
        if place is not None:
            self._places[tenant] = place
            place.users += 1
            return place
        closed = None
        if len(self._places) >= self._most:
            idle = next((one for one, held in self._places.items() if not held.users), None)
            if idle is None:
                raise overloaded("The server has as many stores open as it may: try again.")
            closed = self._places.pop(idle).opened
        place = self._places[tenant] = _Place(users=1)
        if closed is not None:
            await asyncio.to_thread(closed.close)
        return place
