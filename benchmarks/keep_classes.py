#!/usr/bin/env python
"""What TEST.KEEP_CLASSES gains and costs, by K: time and memory of ViT-B/16, labels and mIoU on the toy world.

    python benchmarks/keep_classes.py speed --output keep_classes
    DETECTRON2_DATASETS=... python benchmarks/keep_classes.py toys --output keep_classes

Each writes its part of OUTPUT.json, and draws OUTPUT.png from all that is there. Labels do not depend on the machine;
time and memory want a quiet one.
"""

import argparse
import json
from functools import partial
from pathlib import Path

import agreement
import matplotlib
from cases import Case
from speed import add_machine_options, machine, run_case
from torch import nn

from physseg.modeling.catseg.keep_classes import ClassFilter

matplotlib.use("Agg")
import matplotlib.pyplot as plt

RULES = ("similarity", "votes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("speed", "toys"))
    parser.add_argument("--output", default="keep_classes", help="path without suffix")
    parser.add_argument("--keep", type=int, nargs="+", help="K; default: 16 32 64 128, on the toy world 4 8 16 32")
    add_machine_options(parser)
    agreement.add_options(parser)
    args = parser.parse_args()
    output = Path(args.output).with_suffix(".json")
    results = json.loads(output.read_text()) if output.exists() else {}
    results[args.part] = {"speed": speed, "toys": toys}[args.part](args)
    results["machine"] = machine(args)
    output.write_text(json.dumps(results, indent=1) + "\n")
    draw(results, output.with_suffix(".png"))


def speed(args: argparse.Namespace) -> dict[str, list[dict]]:
    """Number of classes -> per K seconds and megabytes; the last row keeps all."""
    curves = {}
    for classes in (4,) if args.quick else (150, 847):
        curves[str(classes)] = []
        for keep in [*(args.keep or (16, 32, 64, 128)), 0]:
            result = run_case(Case("plain", "vitb16", classes, opts=("TEST.KEEP_CLASSES", str(keep))), args)
            # Of more classes, aggregation takes no more than that in any case.
            row = {"keep": keep or min(classes, 256), "exact": not keep}
            row |= {key: result[key] for key in ("seconds", "megabytes")}
            curves[str(classes)].append(row)
            print(
                f"{classes} classes, K {keep or 'all'}: {row['seconds']:.3g} s, {row['megabytes']:.0f} MB", flush=True
            )
    return curves


def toys(args: argparse.Namespace) -> dict[str, list[dict]]:
    """ "toy, names, rule" -> per K agreement and mIoU; the last row keeps all."""
    curves: dict[str, list[dict]] = {}
    settings = {"all": partial(_keep, ClassFilter())}
    for keep in args.keep or (4, 8, 16, 32):
        for rule in RULES:
            settings[f"{rule} {keep}"] = partial(_keep, ClassFilter(keep, rule))
    for toy in args.toys:
        for data in args.data:
            names, found = agreement.compare(toy, data, args.images, settings)
            exact = found.pop("all")
            for title, values in found.items():
                rule, keep = title.split()
                rows = curves.setdefault(f"{toy.partition('=')[0]}, {names} names, {rule}", [])
                rows.append({"keep": int(keep), **values._asdict()})
            for rule in RULES:
                curves[f"{toy.partition('=')[0]}, {names} names, {rule}"].append({"keep": names, **exact._asdict()})
    return curves


def _keep(class_filter: ClassFilter, model: nn.Module) -> None:
    model.class_filter = class_filter


def draw(results: dict, path: Path) -> None:
    """Time, memory, agreement and mIoU over K."""
    panels = [
        ("speed", "seconds", "time (s)", 0), ("speed", "megabytes", "peak over model (MB)", 0),
        ("toys", "agreement", "labels as with all classes (%)", None), ("toys", "miou", "mIoU (%)", None),
    ]  # fmt: skip
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.8))
    for axis, (part, key, label, bottom) in zip(axes, panels, strict=True):
        for index, (name, rows) in enumerate(results.get(part, {}).items()):
            votes = name.endswith("votes")
            colour = f"C{index // 2 if part == 'toys' else index}"
            style = {"color": colour, "linestyle": "--" if votes else "-", "marker": "x" if votes else "o"}
            title = f"{name} classes" if part == "speed" else name
            axis.plot([row["keep"] for row in rows], [row[key] for row in rows], markersize=4, label=title, **style)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(matplotlib.ticker.ScalarFormatter())
        axis.set_xlabel("K, classes kept (last point: all)")
        axis.set_ylabel(label)
        axis.set_ylim(bottom=bottom)
        axis.grid(alpha=0.3)
        if axis.lines and key in ("seconds", "agreement"):
            axis.legend(fontsize=6)
    figure.suptitle(f"TEST.KEEP_CLASSES. Time and memory: ViT-B/16, random weights, {results['machine']}", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
