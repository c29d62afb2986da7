"""What the command lines of the programs have in common."""

import argparse
import inspect
from collections.abc import Sequence


def new_parser(doc: str, **options) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring, with the option that the boundary understands.

    Args:
        doc: the docstring.
        options: of `argparse.ArgumentParser`.
    """
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(doc), formatter_class=argparse.RawDescriptionHelpFormatter, **options
    )
    return add_traceback(parser)


def add_traceback(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let --help name the option that the boundary takes out before a program parses."""
    parser.add_argument("--traceback", action="store_true", help="after an error, show where in the code it came from")
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """The options that `physseg.inference.choice.choose_model` takes."""
    parser.add_argument("--model", metavar="NAME", help="by name, as physseg models lists them; default: catseg-vitb16")
    parser.add_argument("--config-file", metavar="F", help="a config of your own, or a shipped one by name")
    parser.add_argument("--weights", metavar="W", help="checkpoint of training, or a published one of CAT-Seg")


def split_at_first_key(words: Sequence[str] | None, opts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part "--benchmarks a847 TEST.SLIDING_WINDOW True": a list of words takes all that follow; keys have dots."""
    words = list(words or ())
    first = next((i for i, word in enumerate(words) if "." in word), len(words))
    return words[:first], [*words[first:], *opts]
