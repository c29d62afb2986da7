"""Seconds by stage of the work, measured only while somebody asks.

Code names its stages, wherever they are: ``with stage("resize"): ...``, or ``@stage("resize")`` on a function. Inside
`collect_stages` the time of each is added up; outside, a stage looks up one variable and does nothing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

Clock = Callable[[], float]

REST = "other"
"""Stage of what belongs to no stage."""


class _StageTimes:
    """Books every moment on one stage: the innermost one."""

    def __init__(self, seconds: dict[str, float], clock: Clock) -> None:
        self._seconds, self._clock = seconds, clock
        self._stage, self._since = REST, clock()

    def enter(self, name: str) -> str:
        """End the stage under way, begin ``name``, and return the one ended."""
        now, ended = self._clock(), self._stage
        self._seconds[ended] = self._seconds.get(ended, 0.0) + now - self._since
        self._stage, self._since = name, now
        return ended


_times: ContextVar[_StageTimes | None] = ContextVar("physseg_stage_times", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Book the time inside on ``name``, but for that of stages within."""
    times = _times.get()
    if times is None:
        yield
        return
    outer = times.enter(name)
    try:
        yield
    finally:
        times.enter(outer)


@contextmanager
def collect_stages(seconds: dict[str, float], clock: Clock = time.perf_counter) -> Iterator[None]:
    """Add the time inside to ``seconds``, by stage; together they make all of it.

    Args:
        seconds: added to; time outside all stages goes to "other".
        clock: in seconds. Work that a GPU does later needs `device_clock`.

    Example::

        >>> ticks = iter([0.0, 1.0, 3.0, 3.5])
        >>> with collect_stages(seconds := {}, lambda: next(ticks)):
        ...     with stage("resize"):
        ...         pass
        >>> seconds
        {'other': 1.5, 'resize': 2.0}
    """
    times = _StageTimes(seconds, clock)
    token = _times.set(times)
    try:
        yield
    finally:
        _times.reset(token)
        times.enter(REST)


def device_clock(device: str | torch.device) -> Clock:
    """A clock that waits for the device first: a GPU's work would otherwise be booked on what needs its result."""
    if torch.device(device).type != "cuda":
        return time.perf_counter

    def read() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return read
