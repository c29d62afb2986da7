"""List the models that go by a name: their files, designs, licences and published mIoU.

physseg models
"""

import argparse
from collections.abc import Sequence

from physseg.cli.arguments import new_parser
from physseg.inference.hub import RECORD, HubFile, home
from physseg.inference.models import BENCHMARKS, DEFAULT, MODELS, NamedModel


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return new_parser(__doc__)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser().parse_args(argv)
    print("\n\n".join(describe(model) for model in MODELS))
    print(f"\nFetched models are kept in {home() / 'models'} (PHYSSEG_HOME sets another place).")
    return 0


def describe(model: NamedModel) -> str:
    """A row of the table, in lines."""
    default = " (default)" if model.name == DEFAULT else ""
    lines = [f"{model.name}{default}", f"    {model.design}; config {model.config}"]
    if isinstance(model.source, HubFile):
        here = "here" if (home() / "models" / model.name / RECORD).is_file() else "to be fetched on first use"
        lines.append(f"    {model.source.url}, {here}")
    elif model.source:
        lines.append("    comes with physseg")
    if model.miou:
        scores = ", ".join(f"{name} {value}" for name, value in zip(BENCHMARKS, model.miou, strict=True))
        lines.append(f"    published mIoU: {scores}")
    lines.append(f"    licence: code {model.code}; weights {model.weights}")
    if model.note:
        lines.append(f"    {model.note}")
    return "\n".join(lines)
