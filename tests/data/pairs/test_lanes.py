"""Samples of tars: every one once a pass, whatever the processes, the workers and the interruptions."""

import itertools

import pytest
from detectron2.utils import comm

from physseg.data.images import BrokenFileError
from physseg.data.loaders import build_train_loader
from physseg.data.pairs.lanes import count_lanes
from tests.data.pairs.conftest import picture, write_tar
from tests.data.pairs.test_loading import config, flat

COUNTS = [7, 5, 9, 6, 8]


def tar_config(tars, *opts, model="LearnsFromPairs"):
    entry = {"name": "mine", "tars": list(map(str, tars))}
    return config({}, "DATASETS.PAIRS", [entry], "SOLVER.IMS_PER_BATCH", 4, "DATALOADER.LANES", 4, *opts, model=model)


def captions(batch):
    return [sample["caption"] for sample in batch]


def take(loader, iterations):
    batches = iter(loader)
    try:
        return [captions(next(batches)) for _ in range(iterations)]
    finally:
        batches.close()


def test_number_of_lanes():
    assert count_lanes(tars=332, batch=4096, most=16) == 16
    assert count_lanes(tars=5, batch=4, most=16) == 4
    assert count_lanes(tars=5, batch=6, most=4) == 3
    assert count_lanes(tars=1, batch=64, most=16) == 1


def test_a_pass_has_every_sample_once(write_tars):
    tars = write_tars([4, 4, 4, 4])
    batches = take(build_train_loader(tar_config(tars)), 8)
    # Four lanes with a tar of four each: a pass is four batches.
    numbers = {f"number {n}" for n in range(16)}
    assert set(flat(batches[:4])) == numbers
    assert set(flat(batches[4:])) == numbers
    assert batches[:4] != batches[4:]


def test_samples_are_whole(write_tars):
    loader = build_train_loader(tar_config(write_tars(COUNTS)))
    for sample in next(iter(loader)):
        assert (sample["image"][0] == int(sample["caption"].split()[1])).all()
        assert sample["file_name"].endswith(".png")


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_change_nothing(write_tars, workers):
    tars = write_tars(COUNTS)
    alone = take(build_train_loader(tar_config(tars)), 12)
    assert take(build_train_loader(tar_config(tars, "DATALOADER.NUM_WORKERS", workers)), 12) == alone


def test_two_processes_share_the_batch_of_one(write_tars, monkeypatch):
    tars = write_tars(COUNTS)
    alone = take(build_train_loader(tar_config(tars)), 12)
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    halves = []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        halves.append(take(build_train_loader(tar_config(tars)), 12))
    assert [first + second for first, second in zip(*halves, strict=True)] == alone


@pytest.mark.parametrize("workers", [0, 2])
def test_taken_up_in_the_middle_of_a_tar(write_tars, workers):
    cfg = tar_config(write_tars(COUNTS), "DATALOADER.NUM_WORKERS", workers)
    whole = take(build_train_loader(cfg), 20)
    for stop in (1, 3, 7, 13):
        loader = build_train_loader(cfg)
        assert take(loader, stop) == whole[:stop]
        state = loader.state_dict()
        resumed = build_train_loader(cfg)
        resumed.load_state_dict(state)
        assert take(resumed, 20 - stop) == whole[stop:]


def test_state_of_other_lanes_is_refused(write_tars):
    tars = write_tars(COUNTS)
    state = build_train_loader(tar_config(tars)).state_dict()
    with pytest.raises(ValueError, match=r"4 lanes of tars, this run has 2.*DATALOADER\.LANES"):
        build_train_loader(tar_config(tars, "DATALOADER.LANES", 2)).load_state_dict(state)


def test_lanes_that_the_processes_cannot_share(write_tars, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match="1 tars and a batch of 4 make 1 lanes, which 2 processes cannot share"):
        build_train_loader(tar_config(write_tars([3])))


def test_broken_samples_stop_or_are_counted(write_tars, tmp_path, caplog):
    tars = write_tars([6, 6])
    broken = [("bad", {"png": b"no image", "txt": "x"}), ("mute", {"png": picture(9)})]
    tars.append(write_tar(tmp_path / "odd.tar", [*broken, ("good", {"png": picture(0), "txt": "the good one"})]))
    cfg = tar_config(tars, "DATALOADER.LANES", 1)
    with pytest.raises(BrokenFileError, match=r"odd\.tar/(bad|mute).*SKIP_BROKEN"):
        take(build_train_loader(cfg), 6)
    loader = build_train_loader(tar_config(tars, "DATALOADER.LANES", 1, "DATALOADER.SKIP_BROKEN", True))
    # 13 good samples a pass.
    found = flat(take(loader, 13))
    assert found.count("the good one") == 4
    assert loader.skipped in (7, 8)  # two a pass, the last one perhaps of the pass after
    assert "has no caption" in caplog.text
    assert "cannot read image" in caplog.text


def test_what_a_cut_tar_still_has_is_used(write_tars):
    tars = write_tars([4, 4, 4, 4])
    with open(tars[1], "rb+") as file:
        file.truncate(2 * 2048 + 100)
    loader = build_train_loader(tar_config(tars, "DATALOADER.SKIP_BROKEN", True))
    found = set(flat(take(loader, 8)))
    assert found == {f"number {n}" for n in range(16)} - {"number 6", "number 7"}
    assert loader.skipped >= 2
    with pytest.raises(BrokenFileError, match=r"00001\.tar is .*cut short"):
        take(build_train_loader(tar_config(tars)), 8)


def test_tars_without_a_usable_sample_end_training(tmp_path):
    tar = write_tar(tmp_path / "bad.tar", [(f"{n}", {"png": b"no image", "txt": "x"}) for n in range(3)])
    loader = build_train_loader(tar_config([tar], "DATALOADER.SKIP_BROKEN", True))
    with pytest.raises(BrokenFileError, match="no sample of 1 tars can be used; last: cannot read image"):
        next(iter(loader))


def test_images_alone_from_tars(write_tars):
    loader = build_train_loader(tar_config(write_tars([4]), model="LearnsFromImages"))
    assert all("caption" not in sample for sample in next(iter(loader)))


def test_siblings_keep_their_images_id(tmp_path):
    def about(n):
        return {"png": picture(n), "json": f'{{"caption": "text {n}", "image_id": {n // 2}}}'}

    tar = write_tar(tmp_path / "a.tar", [(f"{n}", about(n)) for n in range(4)])
    (batch,) = itertools.islice(build_train_loader(tar_config([tar])), 1)
    assert sorted(sample["image_id"] for sample in batch) == ["0", "0", "1", "1"]
