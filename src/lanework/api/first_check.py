"""The gate of `lanework run`: the quick check, beside the first programs of a study, told and stored when it is done.

Owns its thread. It waits for nothing and nothing waits for it, unless it has parts that use the devices: those come first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeAlias

from lanework.api import check
from lanework.api.session import Session
from lanework.cohort.compiled import Programs

OnCheck: TypeAlias = Callable[[check.Check], None]


class FirstCheck:
    """A quick check that runs beside a study. A class because its thread has a lifetime."""

    def __init__(self, session: Session, on_check: OnCheck | None) -> None:
        """Nothing runs before `begin`."""
        self._session, self._on_check = session, on_check
        self._own = ThreadPoolExecutor(max_workers=1)
        self._found: Future[check.Check] | None = None

    def begin(self, built: Sequence[Programs], pool: Executor) -> None:
        """Start it; where it trains something itself, wait for it.

        Args:
            built: The programs of the study, by position of the bucket.
            pool: Where they compile.
        """
        prepared = self._session.prepared
        parts = check.affordable_parts(prepared)
        self._found = self._own.submit(check.quick, prepared, built, pool, parts=parts)
        if parts - {"look"}:
            self.take()

    def take(self, *, is_last: bool = True) -> None:
        """Store and tell what was found, once.

        Args:
            is_last: Wait for it; otherwise only where it is done.
        """
        if self._found is None or not (is_last or self._found.done()):
            return
        future, self._found = self._found, None
        problem, store = future.exception(), self._session.store
        self._own.shutdown(wait=False)
        if problem is not None:
            # A network may train and yet not bear the gate, which calls it in ways of its own.
            text = f"The check before training could not be made: {problem}. Look with: lanework check."
            store.add_event(None, 0, "warning", text, {})
            return
        found = future.result()
        store.put_meta("check", found.record())
        for text in found.warnings():
            store.add_event(None, 0, "warning", text, {})
        self._session.clock["check"] = found.seconds
        if self._on_check is not None:
            self._on_check(found)
