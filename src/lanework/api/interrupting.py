"""Ctrl-C between two evaluations: a study stops where its state is whole.

Owns the signal handler while a study trains. A class because a handler has a lifetime.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self


class Interrupt:
    """While active, the first Ctrl-C is only noted; a second one raises `KeyboardInterrupt` at once.

    Outside the main thread, where Python allows no handlers, it does nothing.

    Attributes:
        is_asked: Whether somebody asked to stop.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._before: Any = None
        self._is_on = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
            self._is_on = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_on:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True
