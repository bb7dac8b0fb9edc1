"""Bounds of a server's answer: the bytes of its body, and the seconds until it is whole."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

MAX_BODY = 16 * 2**20
"""Bytes of any answer after which it is given up: no answer we ask for is near that."""


class BodyTooLarge(Exception):
    """An answer's body has more bytes than it may."""


class BoundedBody:
    """The body of an answer, put together from its pieces, up to `most` bytes.

    The pieces are those after decompression: a small archive may unpack to anything.
    """

    def __init__(self, most: int = MAX_BODY) -> None:
        self._most = most
        self._data = bytearray()

    def add(self, piece: bytes) -> None:
        """Takes in the next piece.

        Raises:
            BodyTooLarge: the body is too large with it.
        """
        if len(self._data) + len(piece) > self._most:
            raise BodyTooLarge(f"answers more than {self._most} bytes")
        self._data += piece

    def whole(self) -> bytes:
        """All pieces so far."""
        return bytes(self._data)


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call that blocks.

    The call has a daemon thread of its own, which is left behind when the time is up: the time
    limits of sockets begin anew with every byte that they get.

    Raises:
        TimeoutError: the call takes longer than `seconds`.
    """
    result: Future[T] = Future()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    Thread(target=work, daemon=True, name="hoptrail-request").start()
    return result.result(seconds)
