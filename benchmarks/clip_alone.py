#!/usr/bin/env python
"""Seconds and peak memory per picture of segmentation from CLIP alone, by method; random weights, nothing downloaded.

    python benchmarks/clip_alone.py
    python benchmarks/clip_alone.py --models ViT-L-14-quickgelu --methods naclip sc_clip --device cuda
    python benchmarks/clip_alone.py --pamr 10 --methods naclip --json clip_alone.json

Each case runs in a process of its own: a picture of 480x640 at short side 336, in six windows of 224 at stride 112, to
the label map, for 20 words whose features are kept. Time is the median of --repeats runs after a first one, which gives
the peak memory over the loaded model.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from cases import names
from measure import peak_megabytes

from physseg import load_config
from physseg.config.special_rules import DENSE_METHODS

# isort: split
from detectron2.modeling import build_model

from physseg.memory import keep_freed_memory
from physseg.timing import device_clock

# Sides of OpenAI's pre-training, which the config's own square must be a multiple of the patch for.
SQUARES = {"ViT-B-16-quickgelu": 384, "ViT-L-14-quickgelu": 336}


def main() -> None:
    args = parse()
    if args.case:
        print(json.dumps(run_case(args, *args.case)))
        return
    results = []
    for model in args.models:
        for method in args.methods:
            command = [sys.executable, __file__, *sys.argv[1:], "--case", model, method]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            results.append({"model": model, "method": method, **json.loads(done.stdout.splitlines()[-1])})
            r = results[-1]
            print(f"{model:20} {method:10} {r['seconds']:7.3f} s {r['megabytes']:7.0f} MB over the model", flush=True)
    if args.json:
        about = {"device": args.device, "threads": torch.get_num_threads(), "pamr": args.pamr}
        Path(args.json).write_text(
            json.dumps({**about, "torch": torch.__version__, "results": results}, indent=1) + "\n"
        )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(SQUARES), choices=list(SQUARES))
    parser.add_argument("--methods", nargs="+", default=list(DENSE_METHODS), choices=DENSE_METHODS)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--pamr", type=int, default=0, metavar="STEPS", help="of PAMR")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="write the results there")
    parser.add_argument("--case", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def run_case(args: argparse.Namespace, model: str, method: str) -> dict[str, float]:
    """Seconds and megabytes of one model and method."""
    torch.manual_seed(0)
    if args.device == "cpu":
        keep_freed_memory()
    opts = ["MODEL.CLIP.NAME", model, "MODEL.CLIP.PRETRAINED", "", "MODEL.CLIP.IMAGE_SIZE", SQUARES[model]]
    opts += ["MODEL.DENSE.METHOD", method, "MODEL.DENSE.PROXY.PRETRAINED", "", "MODEL.DENSE.PAMR_STEPS", args.pamr]
    # Text features are kept between pictures: few templates spare a minute.
    opts += ["MODEL.TEXT.TEMPLATES", ["single"], "MODEL.DEVICE", args.device]
    segmenter = build_model(load_config("clip_alone/Base-ClipSegmenter", opts)).eval()
    picture = torch.randint(0, 256, (3, 336, 448), dtype=torch.uint8)
    x = {"image": picture, "height": 480, "width": 640, "vocabulary": names(args.classes), "output": "labels"}
    segmenter.text_features(segmenter.words(x["vocabulary"])[0])
    megabytes = peak_megabytes(lambda: segmenter([x]), args.device)
    clock, times = device_clock(args.device), []
    for _ in range(args.repeats):
        start = clock()
        segmenter([x])
        times.append(clock() - start)
    return {"seconds": statistics.median(times), "megabytes": megabytes}


if __name__ == "__main__":
    main()
