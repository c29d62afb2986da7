"""A training on tars that is killed in the middle of one goes on as if nothing had happened."""

import multiprocessing
import os
import signal

import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils.env import seed_all_rng
from torch import nn

from physseg.config import load_config
from physseg.data.pairs.sources import PAIRS
from physseg.engine.trainer import Trainer
from tests.data.pairs.conftest import write_tars  # noqa: F401  (a fixture)


class CaptionCounter(nn.Module):
    """Its loss depends on every sample and on all that came before; it remembers what it was given."""

    learns_from = PAIRS

    def __init__(self, cfg=None):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.seen = []

    def forward(self, batch):
        if int(os.environ.get("KILL_AT", -1)) == len(self.seen):
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append([x["caption"] for x in batch])
        x = torch.tensor([[len(x["caption"]) + x["image"].float().mean() / 255] for x in batch])
        return {"loss": (self.layer(x) - x.roll(1)).square().mean()}


if "CaptionCounter" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(CaptionCounter)


def train(folder, tars, *opts, resume=False):
    entry = {"name": "mine", "tars": tars}
    base = ["MODEL.META_ARCHITECTURE", "CaptionCounter", "MODEL.DEVICE", "cpu", "DATASETS.TEST", "()"]
    base += ["DATASETS.TRAIN", ["mine"], "DATASETS.PAIRS", [entry], "INPUT.PAIRS.SIZE", 16, "SOLVER.IMS_PER_BATCH", 4]
    base += ["SOLVER.MAX_ITER", 14, "SOLVER.CHECKPOINT_PERIOD", 5, "DATALOADER.NUM_WORKERS", 2, "DATALOADER.LANES", 2]
    cfg = load_config(None, [*base, *opts], folder)
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def test_killed_in_the_middle_of_a_tar(tmp_path, monkeypatch, write_tars):  # noqa: F811
    tars = write_tars([9, 8, 11])
    whole = train(tmp_path / "whole", tars)
    assert len(whole.model.seen) == 14
    monkeypatch.setenv("KILL_AT", "12")
    process = multiprocessing.get_context("fork").Process(target=train, args=(tmp_path / "killed", tars))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    monkeypatch.delenv("KILL_AT")
    # The newest checkpoint is after ten iterations: 20 samples of each of two lanes, in the middle of tars.
    state = torch.load(tmp_path / "killed" / "model_0000009.pth", weights_only=False)["loader"]
    assert set(state) == {"0", "1"}
    assert any(0 < taken < 8 for _, _, taken in state.values())
    resumed = train(tmp_path / "killed", tars, resume=True)
    assert resumed.model.seen == whole.model.seen[10:]
    assert torch.equal(resumed.model.layer.weight, whole.model.layer.weight)


def test_a_checkpoint_of_other_data_does_not_begin_the_tars_anew(tmp_path, write_tars):  # noqa: F811
    tars = write_tars([9, 8, 11])
    train(tmp_path, tars, "SOLVER.MAX_ITER", 5)
    path = tmp_path / "model_final.pth"
    content = torch.load(path, weights_only=False)
    del content["loader"]
    torch.save(content, path)
    with pytest.raises(ValueError, match="does not say how far its data was read"):
        train(tmp_path, tars, resume=True)
