#!/usr/bin/env python
"""A session with a Predictor: seconds and peak memory for 1, 20 and 847 words, on one picture; nothing is downloaded.

    python benchmarks/words.py
    python benchmarks/words.py --config-file catseg_vitl14 --size 1920x1080 --words 150

Weights are random, which changes neither time nor memory. The first call encodes the words, later ones do not; "one
more word" is a call with one word added. Memory is the process's highest, over what it held before the call, in units
of 2**20 bytes; the probabilities themselves are part of it.
"""

import argparse
import logging
import time

import numpy as np
import torch
from cases import names
from measure import peak_megabytes

import physseg


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="catseg_vitb16")
    parser.add_argument("--size", default="640x480", help="WIDTHxHEIGHT")
    parser.add_argument("--words", type=int, nargs="+", default=[1, 20, 847])
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of as many calls")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE")
    args = parser.parse_args()
    logging.disable(logging.WARNING)  # that the weights are random
    torch.manual_seed(0)
    opts = ["MODEL.CLIP.PRETRAINED", "", *args.opts]
    predictor = physseg.Predictor(args.config_file, opts=opts)
    width, height = map(int, args.size.split("x"))
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    device = str(predictor.model.device)
    print(f"{args.config_file}, {args.size}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("words  first call  next calls  one more word  labels: peak  probabilities: peak  of these the result")
    for count in args.words:
        words = names(count + 1)
        predictor.model.text_cache.clear()
        first = seconds(lambda words=words: predictor.labels(image, vocabulary=words[:-1]))
        following = min(
            seconds(lambda words=words: predictor.labels(image, vocabulary=words[:-1])) for _ in range(args.repeats)
        )
        added = seconds(lambda words=words: predictor.labels(image, vocabulary=words))
        labels = peak_megabytes(lambda words=words: predictor.labels(image, vocabulary=words[:-1]), device)
        everything = peak_megabytes(lambda words=words: predictor(image, vocabulary=words[:-1]), device)
        result = count * height * width * 4 / 2**20
        print(
            f"{count:5}  {first:8.2f} s  {following:8.2f} s  {added:11.2f} s  {labels:9.0f} MB  {everything:16.0f} MB"
            f"  {result:16.0f} MB",
            flush=True,
        )


def seconds(call) -> float:
    """Wall-clock time of a call that ends with its result on the CPU."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
