import json

import numpy as np
import torch
from detectron2.utils import comm
from PIL import Image

from physseg.engine.launch import launch
from physseg.evaluation import SegmentationEvaluator

NAMES = ["sky", "grass", "cow"]


def run(folder):
    rank, world_size = comm.get_rank(), comm.get_world_size()
    names = [f"{i}.jpg" for i in range(5)]
    files = {name: f"{folder}/{name[0]}.png" for name in names}
    evaluator = SegmentationEvaluator("toy", NAMES, 255, files, boundary_dilation=0.02)
    # Five images in two processes, the last share padded with the first image as DistributedSampler does.
    share = (names + names[:1])[rank::world_size] if world_size > 1 else names
    for name in share:
        labels = torch.randint(0, 3, (9, 11), generator=torch.Generator().manual_seed(int(name[0])))
        evaluator.process([{"file_name": name}], [{"labels": labels}])
    result = evaluator.evaluate()
    if rank == 0:
        with open(f"{folder}/result{world_size}.json", "w") as file:
            json.dump(result, file)
    else:
        assert result is None


def test_two_processes_give_the_numbers_of_one(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 3, (9, 11)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    for processes in (1, 2):
        launch(run, processes, device="cpu", args=(str(tmp_path),))
    one, two = (json.loads((tmp_path / f"result{n}.json").read_text()) for n in (1, 2))
    assert one == two
