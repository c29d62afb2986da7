"""PACL through the real trainer: captions in files, a checkpoint, and words on a picture from it."""

import numpy as np
import torch
from detectron2.utils.env import seed_all_rng

import physseg
from physseg.engine.trainer import Trainer
from physseg.engine.weights import read_checkpoint
from tests.data.pairs.conftest import write_pairs  # noqa: F401  (a fixture)

CONFIG = "configs/without_masks/pacl_toy.yaml"


def train(folder, entry, iterations, resume=False):
    opts = ["MODEL.DEVICE", "cpu", "DATASETS.TRAIN", ["mine"], "DATASETS.PAIRS", [entry], "DATASETS.TEST", "()"]
    opts += ["SOLVER.IMS_PER_BATCH", 4, "DATALOADER.NUM_WORKERS", 0, "SOLVER.CHECKPOINT_PERIOD", 2]
    opts += ["SOLVER.MAX_ITER", iterations, "SOLVER.WARMUP_ITERS", 0]
    cfg = physseg.load_config(CONFIG, opts, folder)
    seed_all_rng(0)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume)
    trainer.train()
    return trainer


def test_from_captions_to_a_prediction(tmp_path, write_pairs):  # noqa: F811
    path, images = write_pairs([[f"a {c} disc"] for c in ("red", "green", "blue", "yellow", "purple", "white")])
    entry = {"name": "mine", "captions": str(path), "images": str(images)}
    start = physseg.Predictor(CONFIG, vocabulary=["red disc"], opts=("MODEL.DEVICE", "cpu")).model.state_dict()
    trainer = train(tmp_path / "run", entry, 4)
    weights = tmp_path / "run" / "model_final.pth"
    trained = read_checkpoint(weights)["model"]
    # What trains has changed, and nothing else.
    changed = {name for name, value in trained.items() if not torch.equal(value, start[name])}
    assert all(name.startswith(("features.embedder.", "contrast.")) for name in changed)
    assert "features.embedder.skip.weight" in changed
    # Taken up after two iterations, the end is the same.
    weights.rename(tmp_path / "whole.pth")
    (tmp_path / "run" / "last_checkpoint").write_text("model_0000001.pth")
    train(tmp_path / "run", entry, 4, resume=True)
    assert all(torch.equal(value, trained[name]) for name, value in read_checkpoint(weights)["model"].items())
    predictor = physseg.Predictor(CONFIG, weights, ["red disc", "blue star"], ("MODEL.DEVICE", "cpu"))
    result = predictor(np.full((40, 60, 3), 128, np.uint8))["sem_seg"]
    assert result.shape == (2, 40, 60)
    torch.testing.assert_close(result.sum(0), torch.ones(40, 60))
    assert trainer.model.contrast.log_scale.isfinite()
