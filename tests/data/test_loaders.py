import itertools
import logging
import random

import numpy as np
import pytest
import torch

from physseg.config import load_config
from physseg.data.checking import NotPreparedError
from physseg.data.images import BrokenFileError
from physseg.data.loaders import (
    PositionBatches,
    TrainingStream,
    TrainLoader,
    build_test_loader,
    build_train_loader,
    share_of,
)
from physseg.data.registration import register_all


class DrawingMapper:
    """Returns what the generators give, and the record."""

    def __call__(self, record):
        if record.get("broken"):
            raise BrokenFileError(f"cannot read {record['name']}")
        return {"name": record["name"], "draw": (np.random.rand(), random.random())}


RECORDS = [{"name": f"r{i}"} for i in range(7)]


def stream(records=RECORDS, seed=3, **options):
    return TrainingStream(records, DrawingMapper(), seed, **options)


def first(loader, count):
    return [[(s["name"], s["draw"]) for s in batch] for batch in itertools.islice(iter(loader), count)]


def test_every_epoch_shows_every_record_in_its_own_order():
    names = [stream()[position]["name"] for position in range(14)]
    assert sorted(names[:7]) == sorted(names[7:]) == [r["name"] for r in RECORDS]
    assert names[:7] != names[7:]
    assert [stream(seed=4)[position]["name"] for position in range(7)] != names[:7]


def test_a_share_is_the_seeds_and_part_of_a_larger_one():
    records = [{"name": i} for i in range(40)]
    few, more = ([r["name"] for r in share_of(records, share, 1)] for share in (0.1, 0.5))
    assert len(few) == 4
    assert set(few) < set(more)
    assert more == sorted(more)
    assert share_of(records, 0.1, 2) != share_of(records, 0.1, 1) == share_of(records, 0.1, 1)
    assert len(share_of(records, 0.001, 1)) == 1
    assert share_of(records, 1.0, 1) == records


def test_a_sample_depends_on_seed_and_position_alone():
    one = stream()
    forwards = [one[p] for p in range(20)]
    other = stream()
    np.random.rand(5)
    assert [other[p] for p in reversed(range(20))] == forwards[::-1]
    assert len({s["draw"] for s in forwards}) == 20


def test_generators_outside_are_left_alone():
    np.random.seed(1)
    random.seed(1)
    want = (np.random.rand(), random.random())
    np.random.seed(1)
    random.seed(1)
    stream()[5]
    assert (np.random.rand(), random.random()) == want


@pytest.mark.parametrize("workers", [1, 2])
def test_number_of_workers_does_not_matter(workers):
    alone = first(TrainLoader(stream(), PositionBatches(3), 0), 5)
    assert first(TrainLoader(stream(), PositionBatches(3), workers), 5) == alone


def test_resumed_stream_continues():
    whole = first(TrainLoader(stream(), PositionBatches(2), 0), 8)
    assert first(TrainLoader(stream(), PositionBatches(2, start_iteration=5), 0), 3) == whole[5:]


def test_processes_share_one_global_batch():
    whole = first(TrainLoader(stream(), PositionBatches(4), 0), 3)
    parts = [first(TrainLoader(stream(), PositionBatches(2, rank, 2), 0), 3) for rank in range(2)]
    assert [a + b for a, b in zip(*parts, strict=True)] == whole


BROKEN = [{"name": f"r{i}", "broken": i in (2, 5)} for i in range(7)]


def test_broken_file_stops_and_names_the_key():
    with pytest.raises(BrokenFileError, match=r"cannot read r[25]; repair .* DATALOADER.SKIP_BROKEN True"):
        first(TrainLoader(stream(BROKEN), PositionBatches(7), 0), 1)


def test_broken_file_reaches_the_main_process():
    with pytest.raises(BrokenFileError, match=r"cannot read r[25]"):
        first(TrainLoader(stream(BROKEN), PositionBatches(7), 1), 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_files_are_replaced_and_counted(workers, caplog):
    loader = TrainLoader(stream(BROKEN, skip_broken=True), PositionBatches(7), workers)
    batches = iter(loader)
    with caplog.at_level(logging.WARNING):
        batch = next(batches)
        next(batches)
        batches.close()
    assert len(batch) == 7
    assert {s["name"] for s in batch} == {"r0", "r1", "r3", "r4", "r6"}
    assert "skipped_files" not in batch[0]
    assert loader.skipped >= 4
    assert "skipped, 1 so far: cannot read r" in caplog.text
    assert f"{loader.skipped} unreadable samples were replaced in all" in caplog.text


def test_nothing_but_broken_files_ends():
    with pytest.raises(BrokenFileError, match="20 files in a row cannot be read"):
        stream([{"name": "x", "broken": True}], skip_broken=True)[0]


@pytest.fixture
def a150(prepared, monkeypatch):
    """A config on three images in the place of A-150."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(prepared[0]))
    register_all()
    name = "ade20k_150_test_sem_seg"
    options = {
        "DATASETS.TRAIN": (name,),
        "DATASETS.TEST": (name,),
        "DATASETS.ALLOW_PARTIAL": True,
        "DATALOADER.NUM_WORKERS": 0,
        "INPUT.MIN_SIZE_TRAIN": (8,),
        "INPUT.CROP.SIZE": [8, 8],
        "INPUT.MIN_SIZE_TEST": 8,
        "SOLVER.IMS_PER_BATCH": 2,
    }
    yield load_config(None, [part for option in options.items() for part in option])
    monkeypatch.undo()
    register_all()


def test_train_loader_from_config(a150):
    whole = list(itertools.islice(iter(build_train_loader(a150)), 4))
    assert [len(batch) for batch in whole] == [2] * 4
    assert whole[0][0]["image"].shape == (3, 8, 8)
    resumed = list(itertools.islice(iter(build_train_loader(a150, start_iteration=2)), 2))
    for want, got in zip(whole[2] + whole[3], resumed[0] + resumed[1], strict=True):
        assert got["file_name"] == want["file_name"]
        assert torch.equal(got["image"], want["image"])
        assert torch.equal(got["sem_seg"], want["sem_seg"])


def test_negative_seed_is_drawn_and_told(a150, caplog):
    a150.SEED = -1
    with caplog.at_level(logging.INFO):
        build_train_loader(a150)
    assert "drawn with seed" in caplog.text


def test_half_prepared_data_stops_training_and_evaluation(a150):
    a150.DATASETS.ALLOW_PARTIAL = False
    match = r"expected 2000 label maps in .*found 3.*prepare_ade20k_150.py.*DATASETS.ALLOW_PARTIAL"
    with pytest.raises(NotPreparedError, match=match):
        build_train_loader(a150)
    with pytest.raises(NotPreparedError, match=match):
        build_test_loader(a150, "ade20k_150_test_sem_seg")


def test_test_loader_shows_every_image_once(a150):
    loader = build_test_loader(a150, "ade20k_150_test_sem_seg", batch_size=2)
    batches = list(loader)
    assert len(loader) == 2
    assert [len(batch) for batch in batches] == [2, 1]
    names = [sample["file_name"][-6:] for batch in batches for sample in batch]
    assert names == ["v0.jpg", "v1.jpg", "v2.jpg"]
    assert batches[0][0]["image"].shape == (3, 11, 8)
    assert len(batches[0][0]["vocabulary"]) == 150
    left = build_test_loader(a150, "ade20k_150_test_sem_seg", skip={batches[0][0]["file_name"]})
    assert [batch[0]["file_name"][-6:] for batch in left] == ["v1.jpg", "v2.jpg"]
    everything = {sample["file_name"] for batch in batches for sample in batch}
    assert list(build_test_loader(a150, "ade20k_150_test_sem_seg", skip=everything)) == []


def test_batch_must_divide_over_the_processes(a150, monkeypatch):
    monkeypatch.setattr("physseg.data.loaders.comm.get_world_size", lambda: 3)
    with pytest.raises(ValueError, match=r"SOLVER.IMS_PER_BATCH is 2; it must be a multiple of the 3 processes"):
        build_train_loader(a150)
