"""Training samples from webdataset tars, in an order that processes, workers and interruptions do not change.

Tars are read from front to back, so samples have no numbers to be asked for. They come in L lanes instead, L decided
by the data and the batch alone: in each pass the seed shuffles the tars, lane l reads every L-th of them from the l-th
on, and gives B / L samples of a batch of B. Each process has its share of the lanes, each of its workers a share of
those. A lane's place is (pass, tar, samples taken of it): three numbers in a checkpoint, from which it goes on after
reading its one tar again up to there.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from physseg.data.images import BrokenFileError
from physseg.data.pairs.tars import decode_record, read_tar, shuffled_blocks
from physseg.data.processes import worker_context
from physseg.data.samples import SKIPPED, SkipReport, init_worker, seeded

logger = logging.getLogger(__name__)

# Samples that are shuffled among each other; as many are held undecoded by each lane.
_BLOCK = 1000


class Place(NamedTuple):
    """Where a lane is: the pass over the data, the tar among the lane's own, samples taken of that tar."""

    epoch: int = 0
    tar: int = 0
    taken: int = 0


def count_lanes(tars: int, batch: int, most: int) -> int:
    """L: the largest number that divides the batch and exceeds neither the tars nor `most`."""
    return max(lanes for lanes in range(1, min(tars, batch, most) + 1) if batch % lanes == 0)


class TarLanes(IterableDataset):
    """Endless parts of batches: ``(samples, places)`` of this worker's lanes, the places being those after the part.

    Args:
        tars: all shards. mapper: of a record.
        lanes: L. own: this process's lanes.
        per_lane: samples of each lane in a batch.
        seed: >= 0.
        captions: whether a sample without one counts as broken.
        skip_broken: broken samples are counted and passed over, and so is what is lost of a tar that is cut short;
            else they are an error.
    """

    def __init__(
        self,
        tars: Sequence[str],
        mapper: Callable[[Mapping[str, Any]], dict[str, Any]],
        lanes: int,
        own: Sequence[int],
        per_lane: int,
        seed: int,
        captions: bool,
        skip_broken: bool,
    ) -> None:
        self.tars, self.mapper, self.lanes, self.own = list(tars), mapper, lanes, list(own)
        self.per_lane, self.seed, self.captions, self.skip_broken = per_lane, seed, captions, skip_broken
        self.places = dict.fromkeys(self.own, Place())

    def __iter__(self) -> Iterator[tuple[list[dict[str, Any]], dict[int, Place]]]:
        info = get_worker_info()
        share = np.array_split(self.own, info.num_workers)[info.id].tolist() if info else self.own
        streams = {lane: self.samples(lane, self.places[lane]) for lane in share}
        while True:
            samples, places = [], {}
            for lane, stream in streams.items():
                for _ in range(self.per_lane):
                    sample, places[lane] = next(stream)
                    samples.append(sample)
            yield samples, places

    def samples(self, lane: int, place: Place) -> Iterator[tuple[dict[str, Any], Place]]:
        """Endless samples of a lane from a place on, each with the place after it."""
        epoch, first, taken = place
        skipped: list[str] = []
        while True:
            whole = (first, taken) == (0, 0)
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.tars))[lane :: self.lanes].tolist()
            good = 0
            for index in range(first, len(order)):
                stored = shuffled_blocks(read_tar(self.tars[order[index]]), _BLOCK, [self.seed, epoch, order[index]])
                for number, item in enumerate(stored):
                    if number < taken:
                        continue
                    try:
                        sample = self._sample(item, order[index], (epoch, order[index], number))
                    except BrokenFileError as error:
                        if not self.skip_broken:
                            raise BrokenFileError(
                                f"{error}; repair it, or set DATALOADER.SKIP_BROKEN True to pass over it"
                            ) from error
                        skipped.append(str(error))
                        continue
                    if skipped:
                        sample[SKIPPED], skipped = skipped, []
                    good += 1
                    yield sample, Place(epoch, index, number + 1)
                taken = 0
            if whole and not good:
                raise BrokenFileError(f"no sample of {len(order)} tars can be used; last: {skipped[-1]}")
            epoch, first = epoch + 1, 0

    def _sample(self, item: Any, tar: int, position: tuple[int, ...]) -> dict[str, Any]:
        if isinstance(item, BrokenFileError):
            raise item
        record = decode_record(item, self.tars[tar], self.captions)
        with seeded(self.seed, *position):
            return self.mapper(record)


class TarLoader:
    """Batches of `TarLanes` for one process; ``state_dict`` is the places after the batch that was given last.

    Attributes:
        skipped: broken samples passed over, this process's own.
    """

    def __init__(self, lanes: TarLanes, num_workers: int, pin_memory: bool = False) -> None:
        # As many lanes for each worker.
        most = min(num_workers, len(lanes.own))
        self.num_workers = max((n for n in range(1, most + 1) if len(lanes.own) % n == 0), default=0)
        if self.num_workers < num_workers:
            logger.info("%d workers for %d lanes (DATALOADER.LANES)", self.num_workers, len(lanes.own))
        self.lanes, self.pin_memory = lanes, pin_memory
        self._report = SkipReport()

    @property
    def skipped(self) -> int:
        return self._report.count

    def state_dict(self) -> dict[str, list[int]]:
        """Lane -> place, of this process."""
        return {str(lane): list(place) for lane, place in self.lanes.places.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[int]]) -> None:
        """Go on from the places of all processes.

        Raises:
            ValueError: they are of other lanes: the tars, the batch or DATALOADER.LANES have changed.
        """
        if set(state) != {str(lane) for lane in range(self.lanes.lanes)}:
            raise ValueError(
                f"the checkpoint is of {len(state)} lanes of tars, this run has {self.lanes.lanes}: resume with the "
                "tars, SOLVER.IMS_PER_BATCH and DATALOADER.LANES that it was trained with"
            )
        self.lanes.places = {lane: Place(*state[str(lane)]) for lane in self.lanes.own}

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        loader = DataLoader(
            self.lanes,
            batch_size=None,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=init_worker,
            pin_memory=self.pin_memory,
            multiprocessing_context=worker_context(self.num_workers),
        )
        parts = iter(loader)
        try:
            while True:
                # A part of each worker, in their order.
                batch, places = [], dict(self.lanes.places)
                for _ in range(max(1, self.num_workers)):
                    samples, after = next(parts)
                    batch += samples
                    places |= after
                for sample in batch:
                    self._report.add(sample.pop(SKIPPED, ()))
                self.lanes.places = places
                yield batch
        finally:
            if self.num_workers:
                parts._shutdown_workers()
            self._report.close()


def _as_it_is(part: Any) -> Any:
    return part
