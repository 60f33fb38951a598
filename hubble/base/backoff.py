"""The delay before the next attempt: longer after each failure, and randomized."""

from __future__ import annotations

from collections.abc import Callable


class Backoff:
    """Delays in seconds: the n-th is drawn evenly from the upper half of `first * 2**n`, capped at `most`.

    `draw` returns a number from 0 to 1, such as `random.random`.
    """

    def __init__(self, first: float, most: float, draw: Callable[[], float]) -> None:
        self._first = first
        self._most = most
        self._draw = draw
        self._failures = 0

    def next_delay(self) -> float:
        """Return the delay before the next attempt, in seconds."""
        ceiling = min(self._most, self._first * 2.0 ** min(self._failures, 30))
        self._failures += 1
        return ceiling * (0.5 + 0.5 * self._draw())

    def succeeded(self) -> None:
        """Reset the delay after a successful attempt."""
        self._failures = 0
