#!/usr/bin/env python
"""Time, memory and operations of a training step of SegCLIP and ZeroSeg by batch size, and of one picture at test.

    python benchmarks/groups.py [--model segclip zeroseg] [--batch 2 4 8] [--device cpu] [--dtype float32] [--repeats 3]

ViT-B/16 at its published sizes with random weights and random pictures; ZeroSeg learns from ready features of its
teacher, ViT-L/14, whose 30 views of one picture are timed besides. A step is forward, backward and AdamW.
"""

import argparse
import statistics

import torch
from measure import DTYPES, gigaflop, peak_megabytes

from physseg import SegCLIP, ZeroSeg, load_config
from physseg.data.vocabularies import get_vocabulary
from physseg.engine.optimizer import build_optimizer
from physseg.memory import keep_freed_memory
from physseg.modeling.without_masks.teacher import teacher_features
from physseg.timing import device_clock

MODELS = {"segclip": SegCLIP, "zeroseg": ZeroSeg}


def build(name: str, device: str):
    opts = ["MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", device, "MODEL.ZEROSEG.TEACHER.FEATURES", ""]
    cfg = load_config(f"configs/without_masks/{name}_vitb16.yaml", opts)
    model = MODELS[name](cfg).to(device)
    return model, build_optimizer(cfg, model)


def samples(count: int, channels: int) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(0, 256, (3, 224, 224), generator=generator, dtype=torch.uint8),
            "caption": f"a photo of {index} things beside a red sofa, in the rain",
            "image_id": index,
            "superpixels": torch.randint(0, 9, (14, 14), generator=generator),
            "teacher": torch.nn.functional.normalize(torch.randn(30, channels, generator=generator), dim=-1).half(),
        }
        for index in range(count)
    ]


def step(model, optimizer, batch: list[dict], device: str, dtype: torch.dtype) -> None:
    with torch.autocast(torch.device(device).type, dtype, enabled=dtype != torch.float32):
        losses = model(batch)
    sum(losses.values()).backward()
    optimizer.step()
    optimizer.zero_grad()


def seconds(function, device: str, repeats: int) -> float:
    clock, times = device_clock(device), []
    for _ in range(repeats):
        start = clock()
        function()
        times.append(clock() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch", nargs="+", type=int, default=[2, 4, 8])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    if args.device == "cpu":
        keep_freed_memory()
    print("| model | case | time | peak over model | GFLOP an image |\n|---|---|---:|---:|---:|")
    for name in args.model:
        model, optimizer = build(name, args.device)
        model.train()
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        # The first step makes AdamW's state, which stays.
        step(model, optimizer, samples(2, model.clip.embed_dim), args.device, DTYPES[args.dtype])
        for count in args.batch:
            batch = samples(count, model.clip.embed_dim)

            def one_step(model=model, optimizer=optimizer, batch=batch):
                step(model, optimizer, batch, args.device, DTYPES[args.dtype])

            peak = peak_megabytes(one_step, args.device)
            work = gigaflop(one_step) / count
            time = seconds(one_step, args.device, args.repeats)
            print(f"| {name} | step, batch {count} | {time:.2f} s | {peak:,.0f} MB | {work:,.1f} |", flush=True)
        print(f"| {name} | {trained / 1e6:.1f} M parameters train | | | |")
        model.eval()
        picture = {
            "image": torch.randint(0, 256, (3, 448, 448), dtype=torch.uint8),
            "vocabulary": get_vocabulary("a150"),
            "output": "labels",
        }
        model([picture])  # text features are kept
        whole = lambda model=model, picture=picture: model([picture])  # noqa: E731
        peak, time = peak_megabytes(whole, args.device), seconds(whole, args.device, args.repeats)
        print(
            f"| {name} | a picture of 448x448, 150 classes | {time:.2f} s | {peak:,.0f} MB | {gigaflop(whole):,.1f} |"
        )
        if name == "zeroseg":
            views = torch.randint(0, 256, (1, 30, 3, 224, 224), dtype=torch.uint8, device=args.device)
            teach = lambda m=model, v=views: teacher_features(m.clip, v, m.pixel_mean, m.pixel_std)  # noqa: E731
            time = seconds(teach, args.device, args.repeats)
            print(f"| teacher | 30 views of a picture | {time:.2f} s | | {gigaflop(teach):,.1f} |")
        del model, optimizer


if __name__ == "__main__":
    main()
