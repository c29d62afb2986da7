"""What every stream of training samples shares: seeding by position, a count of what was skipped, its workers."""

import contextlib
import logging
import random
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from physseg.data.processes import stop_opencv_threads

SKIPPED = "skipped_files"
"""Key of a sample: messages about what could not be read before it."""
_PERIOD = 100

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def seeded(seed: int, *position: int) -> Iterator[None]:
    """Seed ``numpy.random`` and ``random`` for one sample, and put their states back afterwards."""
    state, python_state = np.random.get_state(), random.getstate()
    words = np.random.SeedSequence([seed, *position]).generate_state(5)
    np.random.seed(words[:4])
    random.seed(int(words[4]))
    try:
        yield
    finally:
        np.random.set_state(state)
        random.setstate(python_state)


class SkipReport:
    """Counts and logs what was skipped: the first ten, then every hundredth, and the sum.

    Attributes:
        count: so far.
    """

    def __init__(self) -> None:
        self.count = 0

    def add(self, errors: Sequence[str]) -> None:
        """Take in the messages of one sample."""
        for error in errors:
            self.count += 1
            if self.count <= 10 or self.count % _PERIOD == 0:
                logger.warning("skipped, %d so far: %s", self.count, error)

    def close(self) -> None:
        """Log the sum, if there is one."""
        if self.count:
            logger.warning("%d unreadable samples were replaced in all (DATALOADER.SKIP_BROKEN)", self.count)


def init_worker(_: int) -> None:
    """Of a loader's worker process."""
    stop_opencv_threads()  # where workers are spawned, they begin with OpenCV's defaults
    torch.set_num_threads(1)
