"""Loaders: an infinite training stream addressed by position, and the images of a benchmark.

Training sample number p, counted over all processes from the start of training, is the same whatever the
number of workers and processes and wherever training was resumed: its record is entry p of an endless series
of shuffled passes, its random numbers are seeded by (seed, p). Iteration i takes samples i*G ... i*G + G - 1,
G = SOLVER.IMS_PER_BATCH; process r of W takes the r-th of W equal parts.
"""

import itertools
import logging
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetFromList
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader, Dataset, Sampler

from physseg.data.checking import require_prepared
from physseg.data.custom import register_custom
from physseg.data.images import BrokenFileError
from physseg.data.mapper import TestMapper, TrainingMapper
from physseg.data.pairs.lanes import TarLoader
from physseg.data.pairs.loading import build_pair_mapper, build_tar_loader, check_model_learns_from, training_records
from physseg.data.pairs.sources import LABEL_MAPS, TARS, training_kind
from physseg.data.processes import stop_opencv_threads, worker_context
from physseg.data.samples import SKIPPED, SkipReport, init_worker, seeded

logger = logging.getLogger(__name__)

_MAX_REPLACEMENTS = 20


class TrainingStream(Dataset):
    """Map-style data set over positions of the stream: ``stream[p]`` is sample p, always the same."""

    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict], seed: int, skip_broken: bool = False):
        """
        Args:
            records: one dict per image; at least one.
            mapper: record -> sample, drawing its random numbers from ``numpy.random`` or ``random``.
            seed: >= 0.
            skip_broken: a file that cannot be read is replaced by another record, and named in the sample's
                ``skipped_files``, instead of ending training.
        """
        self.records = DatasetFromList(list(records), copy=False, serialize=True)
        self.mapper = mapper
        self.seed = seed
        self.skip_broken = skip_broken
        self._epoch: int | None = None
        self._order = np.empty(0, dtype=np.int64)

    def __getitem__(self, position: int) -> dict:
        index = self.record_index(position)
        skipped: list[str] = []
        with seeded(self.seed, position):
            while True:
                try:
                    sample = self.mapper(self.records[index])
                    break
                except BrokenFileError as error:
                    if not self.skip_broken:
                        raise BrokenFileError(
                            f"{error}; repair or remove the file, or set DATALOADER.SKIP_BROKEN True"
                        ) from error
                    skipped.append(str(error))
                    if len(skipped) >= _MAX_REPLACEMENTS:
                        raise BrokenFileError(f"{len(skipped)} files in a row cannot be read; last: {error}") from error
                    index = int(np.random.randint(len(self.records)))
        if skipped:
            sample[SKIPPED] = skipped
        return sample

    def record_index(self, position: int) -> int:
        """Index of the record that sample ``position`` shows."""
        epoch, offset = divmod(position, len(self.records))
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.records))
            self._epoch = epoch
        return int(self._order[offset])


class PositionBatches(Sampler):
    """Endless batches of positions for one of ``world_size`` processes."""

    def __init__(self, batch_size: int, rank: int = 0, world_size: int = 1, start_iteration: int = 0):
        """
        Args:
            batch_size: samples of this process per iteration.
            rank, world_size: which process of how many.
            start_iteration: first iteration.
        """
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.start_iteration = start_iteration

    def __iter__(self) -> Iterator[list[int]]:
        for iteration in itertools.count(self.start_iteration):
            first = (iteration * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


class TrainLoader:
    """Iterable of batches (lists of sample dicts); each ``iter`` begins at ``start_iteration``.

    ``skipped`` counts records that were replaced because a file could not be read (this process's own).
    """

    def __init__(self, stream: TrainingStream, batches: PositionBatches, num_workers: int, pin_memory: bool = False):
        self.pin_memory = pin_memory
        self.stream = stream
        self.batches = batches
        self.num_workers = num_workers
        self._report = SkipReport()

    @property
    def skipped(self) -> int:
        return self._report.count

    def __iter__(self) -> Iterator[list[dict]]:
        stop_opencv_threads()
        loader = DataLoader(
            self.stream,
            batch_sampler=self.batches,
            num_workers=self.num_workers,
            collate_fn=_as_list,
            worker_init_fn=init_worker,
            pin_memory=self.pin_memory,
            multiprocessing_context=worker_context(self.num_workers),
        )
        batches = iter(loader)
        try:
            for batch in batches:
                for sample in batch:
                    self._report.add(sample.pop(SKIPPED, ()))
                yield batch
        finally:
            # After an error the traceback keeps the workers alive until they are collected, which then takes 5 s.
            if self.num_workers:
                batches._shutdown_workers()
            self._report.close()


def build_train_loader(cfg: CfgNode, start_iteration: int = 0) -> TrainLoader | TarLoader:
    """Loader of DATASETS.TRAIN whose first batch is that of ``start_iteration``.

    Tars begin anew instead, until they are given the state that a checkpoint keeps (`TarLoader.load_state_dict`).

    Raises:
        ValueError: SOLVER.IMS_PER_BATCH is no multiple of the number of processes.
        FileNotFoundError, checking.NotPreparedError: a data set is missing or half prepared.
    """
    register_custom(cfg)
    world_size = comm.get_world_size()
    total = cfg.SOLVER.IMS_PER_BATCH
    if total < world_size or total % world_size:
        raise ValueError(f"SOLVER.IMS_PER_BATCH is {total}; it must be a multiple of the {world_size} processes")
    check_model_learns_from(cfg)
    kind, seed = training_kind(cfg), _seed(cfg)
    if kind == TARS:
        return build_tar_loader(cfg, seed, comm.get_rank(), world_size, _on_gpu(cfg))
    if kind == LABEL_MAPS:
        mapper, records = TrainingMapper(cfg), _labelled_records(cfg)
    else:
        mapper, records = build_pair_mapper(cfg), training_records(cfg)
    records = share_of(records, cfg.DATASETS.TRAIN_SHARE, seed)
    stream = TrainingStream(records, mapper, seed, cfg.DATALOADER.SKIP_BROKEN)
    batches = PositionBatches(total // world_size, comm.get_rank(), world_size, start_iteration)
    logger.info("%d training samples of %s", len(records), ", ".join(cfg.DATASETS.TRAIN))
    return TrainLoader(stream, batches, cfg.DATALOADER.NUM_WORKERS, _on_gpu(cfg))


def _labelled_records(cfg: CfgNode) -> list[dict]:
    records: list[dict] = []
    for name in cfg.DATASETS.TRAIN:
        require_prepared(name, allow_partial=cfg.DATASETS.ALLOW_PARTIAL)
        records += DatasetCatalog.get(name)
    return records


def share_of(records: list[dict], share: float, seed: int) -> list[dict]:
    """So large a share of the records, at least one, chosen by the seed, in their order; part of any larger share."""
    if share == 1:
        return records
    count = max(1, round(share * len(records)))
    chosen = np.random.default_rng([seed, len(records)]).permutation(len(records))[:count]
    return [records[index] for index in sorted(chosen)]


def build_test_loader(
    cfg: CfgNode, dataset_name: str, batch_size: int = 1, skip: Collection[str] = ()
) -> DataLoader | list:
    """Loader of every image of one data set once, in lists of ``batch_size``, shared out over the processes.

    Images whose file names are in ``skip`` (evaluated before an interruption) are left out; with none left, an empty
    list comes back.

    Raises:
        FileNotFoundError, checking.NotPreparedError: the data set is missing or half prepared.
    """
    register_custom(cfg)
    require_prepared(dataset_name, allow_partial=cfg.DATASETS.ALLOW_PARTIAL)
    records = [record for record in DatasetCatalog.get(dataset_name) if record["file_name"] not in skip]
    if not records:
        return []
    stop_opencv_threads()
    return DataLoader(
        _MappedRecords(records, TestMapper(cfg, dataset_name)),
        batch_size=batch_size,
        sampler=InferenceSampler(len(records)),
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_list,
        worker_init_fn=init_worker,
        pin_memory=_on_gpu(cfg),
        multiprocessing_context=worker_context(cfg.DATALOADER.NUM_WORKERS),
    )


class _MappedRecords(Dataset):
    def __init__(self, records: Sequence[dict], mapper: Callable[[dict], dict]):
        self.records = list(records)
        self.mapper = mapper

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> dict:
        return self.mapper(self.records[index])


def _on_gpu(cfg: CfgNode) -> bool:
    """Whether batches go to a GPU: from pinned memory it fetches them itself, while the host goes on."""
    return cfg.MODEL.DEVICE.startswith("cuda")


def _seed(cfg: CfgNode) -> int:
    if cfg.SEED >= 0:
        return cfg.SEED
    seed = comm.shared_random_seed()
    logger.info("SEED is negative: training data is drawn with seed %d; set SEED to repeat or resume this run", seed)
    return seed


def _as_list(batch: list[dict]) -> list[dict]:
    return batch
