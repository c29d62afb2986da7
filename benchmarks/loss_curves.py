#!/usr/bin/env python
"""Loss curves of trainings: a row of panels for each title, a panel for each loss, a line for each seed.

    python benchmarks/loss_curves.py --output curves.png SegCLIP=RUN/seed0,RUN/seed1 ZeroSeg=RUN/seed0

A RUN is the folder of a sweep's row; any folder with a training's metrics.json will do.
"""

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name of a loss -> iteration and value, from the metrics.json of a training."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (folder / "metrics.json").read_text().splitlines():
        record = json.loads(line)
        for name, value in record.items():
            if name.startswith("loss_"):
                found.setdefault(name.removeprefix("loss_").replace("_", " "), []).append((record["iteration"], value))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("trainings", nargs="+", metavar="TITLE=FOLDER[,FOLDER]")
    args = parser.parse_args()
    rows = {}
    for entry in args.trainings:
        title, _, folders = entry.partition("=")
        rows[title] = [curves(Path(folder)) for folder in folders.split(",")]
    across = max(len(seeds[0]) for seeds in rows.values())
    figure = Figure(figsize=(2.6 * across, 2.0 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), across, squeeze=False)
    for line, (title, seeds) in zip(axes, rows.items(), strict=True):
        for axis, name in zip(line, seeds[0], strict=False):
            for seed in seeds:
                axis.plot(*zip(*seed[name], strict=True), color="#0b6e99", linewidth=1, alpha=0.7)
            axis.set_title(f"{title}: {name}", fontsize=9)
            axis.set_xlabel("iteration", fontsize=8)
            axis.set_ylim(bottom=0)
            axis.tick_params(labelsize=8)
            axis.grid(linewidth=0.3)
        for axis in line[len(seeds[0]) :]:
            axis.set_visible(False)
    figure.savefig(args.output, dpi=110)


if __name__ == "__main__":
    main()
