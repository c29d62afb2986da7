"""A tiny segmenter with a position-addressed stream of random images, to train the real trainer on in milliseconds.

As a script it is tools/train_net.py with these.
"""

import functools
import os
import signal
import sys
from pathlib import Path

import physseg  # noqa: F401  (first: it prepares Detectron2)

# isort: split
import torch
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch import nn
from torch.nn import functional as F

from physseg.cli.boundary import run_program
from physseg.cli.train import main
from physseg.config import load_config
from physseg.data.images import read_image
from physseg.data.loaders import PositionBatches, TrainingStream, TrainLoader
from physseg.engine.trainer import Trainer
from physseg.io import write_json_atomic

NUM_CLASSES = 3


class FakeSegmenter(nn.Module):
    """Conv, norm, dropout, conv; a "clip" that trains slowly, a frozen and an unused parameter."""

    def __init__(self, cfg=None):
        super().__init__()
        self.clip = nn.Conv2d(3, 8, 3, padding=1)
        self.clip.bias.requires_grad_(False)
        self.norm = nn.GroupNorm(2, 8)
        self.dropout = nn.Dropout(float(os.environ.get("FAKE_DROPOUT", 0.1)))
        self.predictor = nn.Conv2d(8, NUM_CLASSES, 1)
        self.unused = nn.Parameter(torch.zeros(2, 2))

    def forward(self, inputs):
        if not self.training:
            return [{"labels": self._logits(x["image"][None])[0].argmax(0)} for x in inputs]
        images = torch.stack([x["image"] for x in inputs])
        labels = torch.stack([x["sem_seg"] for x in inputs])
        loss = F.cross_entropy(self._logits(images), labels)
        return {"loss_sem_seg": loss, "loss_patch_alignment": 0.1 * self._logits(images).square().mean()}

    def _logits(self, images):
        return self.predictor(self.dropout(torch.relu(self.norm(self.clip(images)))))


class FakeStream:
    """Batches by position, as physseg.data.loaders."""

    def __init__(self, cfg, start_iteration=0):
        self.seed, self.start = cfg.SEED, start_iteration
        self.size = cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size()

    def __iter__(self):
        iteration = self.start
        while True:
            torch.rand(1)  # a loader may draw from the global stream; training must not notice
            first = (iteration * comm.get_world_size() + comm.get_rank()) * self.size
            yield [self.sample(first + i) for i in range(self.size)]
            iteration += 1

    def sample(self, position):
        if "FAKE_GONE_FROM" in os.environ and position >= int(os.environ["FAKE_GONE_FROM"]):
            read_image("gone.png")
        generator = torch.Generator().manual_seed(1000 * self.seed + position)
        image = torch.rand(3, 8, 8, generator=generator)
        return {"image": image, "sem_seg": image.argmax(0)}


class FakeTrainer(Trainer):
    """The real trainer on the fake stream; environment variables make it die or go wrong at an iteration.

    FAKE_WORKERS: read the samples in so many of the real loader's worker processes.
    FAKE_GONE_FROM: from this sample on the picture files are missing.
    """

    def __init__(self, cfg):
        super().__init__(cfg)
        self.losses = []

    @classmethod
    def build_train_loader(cls, cfg, start_iteration=0):
        stream = FakeStream(cfg, start_iteration)
        workers = int(os.environ.get("FAKE_WORKERS", 0))
        if not workers:
            return stream
        batches = PositionBatches(stream.size, comm.get_rank(), comm.get_world_size(), start_iteration)
        return TrainLoader(TrainingStream(range(100), stream.sample, cfg.SEED), batches, workers)

    @classmethod
    def test(cls, cfg, model, evaluators=None):
        torch.rand(3)
        labels = torch.cat([output["labels"] for output in model.eval()([FakeStream(cfg).sample(10**6)])])
        score = 100 * (labels == FakeStream(cfg).sample(10**6)["sem_seg"]).float().mean().item()
        return {name: {"sem_seg": {"mIoU": score, "IoU-thing": score}} for name in cfg.DATASETS.TEST}

    def train(self):
        results = super().train()
        if comm.is_main_process():
            write_json_atomic(Path(self.cfg.OUTPUT_DIR) / "losses.json", self.losses)
        return results

    def run_step(self):
        if self.iter == int(os.environ.get("FAKE_KILL_AT", -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.iter == int(os.environ.get("FAKE_INTERRUPT_AT", -1)):
            os.kill(os.getpid(), signal.SIGINT)
        if self.iter == int(os.environ.get("FAKE_NAN_AT", -1)):
            with torch.no_grad():
                self._own_model.clip.weight.mul_(float("nan"))
        super().run_step()
        self.losses.append(self.storage.latest()["total_loss"][0])


def fake_opts():
    """Overrides that train the fake for 12 iterations on the CPU."""
    base = ["MODEL.META_ARCHITECTURE", "FakeSegmenter", "MODEL.DEVICE", "cpu", "SOLVER.MAX_ITER", 12]
    base += ["SOLVER.CHECKPOINT_PERIOD", 5, "SOLVER.BASE_LR", 0.01, "ENGINE.LOG_PERIOD", 1, "DATASETS.TEST", "()"]
    return [str(word) for word in base]


def fake_config(folder, *opts):
    """The config of `fake_opts`, with more overrides."""
    return load_config(None, [*fake_opts(), *opts], folder)


def train(folder, *opts, resume=False):
    """Train the fake and return its trainer."""
    cfg = fake_config(folder, *opts)
    seed_all_rng(cfg.SEED)
    trainer = FakeTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


if "FakeSegmenter" not in META_ARCH_REGISTRY:
    META_ARCH_REGISTRY.register(FakeSegmenter)

if __name__ == "__main__":
    sys.exit(run_program(functools.partial(main, trainer=FakeTrainer)))
