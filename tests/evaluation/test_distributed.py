import json
import socket

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image

from physseg.evaluation import SegmentationEvaluator

NAMES = ["sky", "grass", "cow"]


def run(rank, world_size, port, folder):
    torch.set_num_threads(1)
    if world_size > 1:
        address = f"tcp://127.0.0.1:{port}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world_size)
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
    if world_size > 1:
        dist.destroy_process_group()


def test_two_processes_give_the_numbers_of_one(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(5):
        Image.fromarray(rng.integers(0, 3, (9, 11)).astype(np.uint8)).save(tmp_path / f"{i}.png")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run(0, 1, port, str(tmp_path))
    mp.start_processes(run, (2, port, str(tmp_path)), nprocs=2, start_method="spawn")
    one, two = (json.loads((tmp_path / f"result{n}.json").read_text()) for n in (1, 2))
    assert one == two
