"""Segment images, folders of images and videos with your own words.

    physseg predict photo.jpg --vocabulary "cat, dog, grass"
    physseg predict photos/ clip.mp4 --model catseg-vitl14 --vocabulary-file words.txt --output DIR
    physseg predict photos/ --weights output/model_final.pth --vocabulary "cat; sofa, couch" --threshold 0.3
    physseg predict map.tif --tile --vocabulary "roof, road"

Writes for each image an overlay with a legend, a PNG of class indices, and a JSON with names and shares of pixels.
Config overrides come last, as KEY VALUE. See docs/predict.md.
"""

import argparse
import sys
from collections.abc import Sequence

from tqdm import tqdm

from physseg import signals
from physseg.cli.arguments import add_model, add_vocabulary, new_parser, number, some_path, vocabulary_of
from physseg.cli.predict_tiles import add_tile_options, check_tile_options, segment_by_tiles, tile_options
from physseg.data.images import BrokenFileError
from physseg.data.vocabularies import check_vocabulary
from physseg.inference.choice import choose_model
from physseg.inference.files import Job, OutputOptions, predict_files
from physseg.inference.find import find_files, is_video
from physseg.inference.formats import DEFAULT_FORMATS, FORMATS, OVERLAY, check_formats
from physseg.inference.predictor import Predictor
from physseg.inference.tiles.segment import check_tile_formats
from physseg.inference.tiles.write import STACK
from physseg.inference.video import frame_count, predict_video
from physseg.memory import keep_freed_memory
from physseg.paths import writable_folder


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says; 1 if a file failed."""
    args = parser().parse_args(argv)
    with signals.explained(f"Finished files are in {args.output}."):
        problems, done = run(args)
    print(f"{done} of {done + len(problems)} files segmented; results are in {args.output}")
    for problem in problems:
        print(f"failed: {problem}", file=sys.stderr)
    return 1 if problems else 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "inputs", nargs="+", type=some_path, metavar="INPUT", help="image, video, or folder (with its subfolders)"
    )
    add_model(parser)
    add_vocabulary(parser)
    parser.add_argument("--output", default="predictions", type=some_path, metavar="DIR", help="default: predictions")
    parser.add_argument(
        "--threshold", type=number(float, 0, 1), default=0.0, help="pixels whose best probability is lower are --other"
    )
    parser.add_argument("--other", default="other", metavar="NAME", help="name of such pixels")
    parser.add_argument(
        "--alpha", type=number(float, 0, 1), default=0.55, help="weight of the overlay's colours, 0 to 1"
    )
    parser.add_argument("--picture", choices=("jpg", "png"), default="jpg", help="format of the overlay")
    parser.add_argument(
        "--format",
        action="append",
        choices=(OVERLAY, *FORMATS, STACK),
        dest="formats",
        help=f"what to write; may be repeated; default: {', '.join(DEFAULT_FORMATS)}. "
        + ". ".join(f"{name}: {form.content}" for name, form in FORMATS.items())
        + f". {STACK}, with --tile: the picture's own bands and the labels as one more, without a copy",
    )
    add_tile_options(parser)
    parser.add_argument(
        "--batch-size", type=number(int, 1), default=1, metavar="N", help="images, tiles or frames at a time"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bf16"),
        help="auto, the default: bf16 where this machine is at least twice as fast in it, else float32, evaluation's",
    )
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[], metavar="KEY VALUE", help="config overrides; last"
    )
    return parser


def run(args: argparse.Namespace) -> tuple[list[str], int]:
    """Predict everything; returns what was wrong with which file, and how many went well."""
    vocabulary = vocabulary_of(args)
    check_vocabulary([args.other], "--other")
    check_tile_options(args)
    model = choose_model(args.model, args.config_file, args.weights, args.opts)
    jobs, left_out = find_files(args.inputs, args.output)
    for text in left_out:
        print(f"left out: {text}", file=sys.stderr)
    if not jobs:
        raise FileNotFoundError(f"no images or videos in {', '.join(args.inputs)}")
    predictor = Predictor(model.config_file, model.weights, vocabulary, args.opts, args.precision)
    if predictor.model.device.type == "cpu":
        keep_freed_memory()
    formats = tuple(dict.fromkeys(args.formats or DEFAULT_FORMATS))
    if args.tile is not None:
        check_tile_formats(formats)
    elif STACK in formats:
        raise ValueError(f"--format {STACK} shows a large picture's own bands with its labels: it goes with --tile")
    else:
        check_formats(formats)
    options = OutputOptions(args.threshold, args.other, args.alpha, args.picture, formats, model.title)
    options.names(predictor.vocabulary)
    tiles = None if args.tile is None else tile_options(args, predictor)
    writable_folder(args.output)

    videos = [job for job in jobs if is_video(job)]
    images = [job for job in jobs if not is_video(job)]
    if tiles is not None:
        problems = segment_by_tiles(predictor, images, options, tiles)
    else:
        done = predict_files(predictor, images, options, args.batch_size)
        results = list(tqdm(done, total=len(images), unit="image", disable=not images))
        problems = [problem for _, problem in results if problem]
    for job in videos:
        problems += segment_video(predictor, job, options, args.batch_size)
    return problems, len(jobs) - len(problems)


def segment_video(predictor: Predictor, job: Job, options: OutputOptions, batch_size: int) -> list[str]:
    """One video with its own progress bar; what was wrong with it, if anything."""
    try:
        with tqdm(total=frame_count(job.source) or None, unit="frame", desc=job.source.name) as progress:
            for done in predict_video(predictor, job, options, batch_size):
                progress.update(done - progress.n)
    except BrokenFileError as error:
        return [str(error)]
    return []
