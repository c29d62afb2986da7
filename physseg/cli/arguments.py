"""What the command lines of the programs have in common."""

import argparse
import inspect
import math
import sys
from collections.abc import Callable, Sequence

from physseg.inference.predictor import split_words

# More than any machine has cores or GPUs; what is above is a slip of the keyboard.
MOST_PROCESSES = 1024


class _Parser(argparse.ArgumentParser):
    """Says so where a required option is missing because it stands among the config overrides, which take all words."""

    def parse_known_args(self, args=None, namespace=None):
        self._words = sys.argv[1:] if args is None else args
        return super().parse_known_args(args, namespace)

    def error(self, message):
        missing = message.partition("arguments are required: ")[2].split(", ")
        late = [option for option in missing if option in (word.partition("=")[0] for word in self._words)]
        if late:
            message = f"{late[0]} stands after the first KEY VALUE: options come before it"
        super().error(message)


def new_parser(doc: str, **options) -> argparse.ArgumentParser:
    """A parser whose help is a module's docstring, with the option that the boundary understands.

    Args:
        doc: the docstring.
        options: of `argparse.ArgumentParser`.
    """
    parser = _Parser(description=inspect.cleandoc(doc), formatter_class=argparse.RawDescriptionHelpFormatter, **options)
    return add_traceback(parser)


def add_traceback(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Let --help name the option that the boundary takes out before a program parses."""
    parser.add_argument("--traceback", action="store_true", help="after an error, show where in the code it came from")
    return parser


def add_model(parser: argparse.ArgumentParser) -> None:
    """The options that `physseg.inference.choice.choose_model` takes."""
    parser.add_argument(
        "--model", type=some_path, metavar="NAME", help="by name, as physseg models lists them; default: catseg-vitb16"
    )
    parser.add_argument(
        "--config-file", type=some_path, metavar="F", help="a config of your own, or a shipped one by name"
    )
    parser.add_argument(
        "--weights", type=some_path, metavar="W", help="checkpoint of training, or a published one of CAT-Seg"
    )


def add_vocabulary(parser: argparse.ArgumentParser) -> None:
    """--vocabulary or --vocabulary-file; `vocabulary_of` reads them."""
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        "--vocabulary",
        metavar="WORDS",
        help='"cat, dog, grass"; with semicolons, commas part synonyms: "cat; sofa, couch"; or a benchmark: "a150"',
    )
    words.add_argument("--vocabulary-file", metavar="FILE", help="one name per line, synonyms after a comma")


def vocabulary_of(args: argparse.Namespace) -> str | list[str] | None:
    """What `Predictor` takes; None where the command line says nothing.

    Raises:
        ValueError: it says nothing but the option, or a word that looks like a file or a benchmark and is none.
    """
    for option in ("vocabulary", "vocabulary_file"):
        given = getattr(args, option)
        if given is not None and not given.strip(" ,;"):
            raise ValueError(f"--{option.replace('_', '-')} is empty; leave it out for the names that the config says")
    if args.vocabulary_file is not None:
        return args.vocabulary_file
    return None if args.vocabulary is None else split_words(args.vocabulary)


def number(kind: type, least: float = -math.inf, most: float = math.inf) -> Callable[[str], float]:
    """A type for argparse: finite numbers from ``least`` to ``most``."""
    words = {int: "a whole number", float: "a number"}[kind]
    if most < math.inf:
        words += f" from {least:g} to {most:g}"
    elif least > -math.inf:
        words += f", {least:g} or more"

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or math.isinf(value):
            raise argparse.ArgumentTypeError(f"expected {words}, got {text!r}")
        return value

    return read


def some_path(text: str) -> str:
    """A type for argparse: a path, which "" is not (it would be the current folder)."""
    if not text.strip():
        raise argparse.ArgumentTypeError("expected a path, got an empty word")
    return text


def split_at_first_key(words: Sequence[str] | None, opts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part "--benchmarks a847 TEST.SLIDING_WINDOW True": a list of words takes all that follow; keys have dots."""
    words = list(words or ())
    first = next((i for i, word in enumerate(words) if "." in word), len(words))
    return words[:first], [*words[first:], *opts]
