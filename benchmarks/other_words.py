"""What another word costs on a picture that is encoded already: seconds for the picture, seconds for the words.

    python benchmarks/other_words.py --config catseg_toy
    python benchmarks/other_words.py --config catseg_vitb16

Weights are random, which changes no time. The picture has 480x640 pixels. "first" is with the names' text features,
"again" with those kept, as when a threshold or a view changes. Seconds of the processor, over all threads, so that
other work on the machine counts for little.
"""

import argparse
import time

import numpy as np
import torch

import physseg
from physseg.inference.predictor import Predictor

COUNTS = (5, 20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="catseg_toy")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[])
    args = parser.parse_args()
    opts = ("MODEL.DEVICE", "cpu", "MODEL.CLIP.PRETRAINED", "", "MODEL.TEXT.VOCABULARY", "pas20", *args.opts)
    predictor = Predictor(args.config, vocabulary=["cat"], opts=opts)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    predictor.labels(image)  # first calls are slower
    encoded, picture = timed(lambda: predictor.encode(image))
    size = sum(m.nbytes for part in encoded.parts for m in (part.dense, *part.guidance.values())) / 2**20
    print(f"{args.config}, {torch.get_num_threads()} threads, physseg {physseg.__version__}")
    print(f"picture: {picture:.2f} s, {size:.0f} MB kept")
    for count in COUNTS:
        names = [f"word {index}" for index in range(count)]
        first = timed(lambda names=names: predictor.segment_encoded(encoded, names))[1]
        again = timed(lambda names=names: predictor.segment_encoded(encoded, names))[1]
        print(f"{count:>4} words: {first:.2f} s first, {again:.2f} s again")


def timed(function) -> tuple[object, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


if __name__ == "__main__":
    main()
