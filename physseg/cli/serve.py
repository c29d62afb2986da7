"""Serve a page in the browser: drop a picture, type words, see them compete.

    physseg serve                                          the models by name, at http://127.0.0.1:7860
    physseg serve --model toy --model catseg-vitb16
    physseg serve --weights output/model_final.pth

Needs Gradio: pip install "physseg[web]". See docs/web.md.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial

from physseg.cli.arguments import new_parser, number, some_path
from physseg.config import check_device, load_config
from physseg.inference.choice import choose_model
from physseg.inference.models import MODELS, find_model, load
from physseg.inference.predictor import Predictor
from physseg.inference.web.limits import Limits
from physseg.inference.web.page import import_gradio, serve
from physseg.inference.web.session import Models
from physseg.memory import keep_freed_memory


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--model", action="append", metavar="NAME", dest="models", help="a model by name; may be repeated; default: all"
    )
    parser.add_argument("--config-file", type=some_path, metavar="F", help="a model of your own, by config")
    parser.add_argument(
        "--weights", type=some_path, metavar="W", help="a checkpoint of your own, or a published one of CAT-Seg"
    )
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1; default: a GPU if there is one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; the default is this machine alone, 0.0.0.0 all"
    )
    parser.add_argument("--port", type=number(int, 1, 65535), help="default: the first free one from 7860 on")
    limits = Limits()
    parser.add_argument("--max-upload", type=number(int, 1, 10_000), default=limits.upload, metavar="MB")
    parser.add_argument("--max-words", type=number(int, 1, 255), default=limits.words, metavar="N", help="255 at most")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C."""
    args = parser().parse_args(argv)
    import_gradio()
    if args.device is not None:
        check_device(args.device)
    loaders = _loaders(args)
    keep_freed_memory()
    if args.host not in ("127.0.0.1", "localhost", "::1"):
        print(f"Listening at {args.host}: everyone who reaches this machine can use the page. It has no password.")
    serve(
        Models(loaders),
        Limits(upload=args.max_upload, words=args.max_words),
        args.host,
        args.port,
        ready=lambda address: print(f"The page is at {address} ; Ctrl-C ends it.", flush=True),
    )
    return 0


def _loaders(args: argparse.Namespace) -> dict[str, Callable[[], Predictor]]:
    """What the command line names, each loaded when first used.

    Raises:
        ValueError: an unknown model, or weights that do not tell their config.
    """
    loaders: dict[str, Callable[[], Predictor]] = {}
    opts = ("MODEL.DEVICE", args.device) if args.device else ()
    if args.config_file or args.weights:
        own = choose_model(None, args.config_file, args.weights)
        load_config(own.config_file, opts)  # what is wrong in it is said now, not to the page's first visitor
        loaders[own.title] = partial(Predictor, own.config_file, own.weights, None, opts)
    names = args.models or ([] if loaders else [model.name for model in MODELS])
    for name in names:
        loaders[find_model(name).name] = partial(load, name, device=args.device)
    return loaders
