#!/usr/bin/env python
"""How time and memory grow with the number of classes, the picture's size, CLIP's size and the batch; see README.md.

    python benchmarks/growth.py --output growth [--device cuda] [--dtype bf16]

writes OUTPUT.json and OUTPUT.png.
"""

import argparse
import json
from pathlib import Path

import matplotlib
from cases import VARIANTS, Case
from speed import add_machine_options, machine, run_case

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Side of the square that CLIP sees; the token grid must be a multiple of Swin's window of 12.
CLIP_SIZES = {"vitb16": (192, 384, 576), "vitl14": (168, 336, 504)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_machine_options(parser)
    parser.add_argument("--variant", default="vitb16", choices=VARIANTS)
    parser.add_argument("--output", default="growth", help="path without suffix")
    args = parser.parse_args()
    curves = {}
    for name, points in axes(args).items():
        curves[name] = []
        for x, case in points:
            result = run_case(case, args)
            curves[name].append({"x": x, **result})
            shown = "failed" if "failed" in result else f"{result['seconds']:.3g} s, {result['megabytes']:.0f} MB"
            print(f"{name} {x}: {shown}", flush=True)
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.with_suffix(".json").write_text(json.dumps({"machine": machine(args), "curves": curves}, indent=1) + "\n")
    draw(curves, machine(args), output.with_suffix(".png"))


def axes(args: argparse.Namespace) -> dict[str, list[tuple[int, Case]]]:
    """Points of every curve: plain inference of 150 classes at 480x640 but for what varies."""
    opts, variant = tuple(args.opts), args.variant
    classes, heights, sizes, batches = (20, 150, 256, 500, 1000, 2000), (240, 480, 960, 1920), None, None
    if args.quick:
        classes, heights, sizes, batches = (4, 8), (240,), (), ()
    sizes = CLIP_SIZES[variant] if sizes is None else sizes
    batches = (1, 2, 4) if batches is None else batches
    base = 4 if args.quick else 150
    return {
        "classes": [(n, Case("plain", variant, n, opts=opts)) for n in classes],
        "picture height (4:3)": [
            (h, Case("plain", variant, base, height=h, width=h * 4 // 3, opts=opts)) for h in heights
        ],
        "CLIP image size": [
            (s, Case("plain", variant, base, opts=(*opts, "MODEL.CLIP.IMAGE_SIZE", str(s)))) for s in sizes
        ],
        "batch": [(b, Case("plain", variant, base, b, opts=opts)) for b in batches],
    }


def draw(curves: dict[str, list[dict]], title: str, path: Path) -> None:
    """One column per curve: time above, memory below."""
    figure, axes = plt.subplots(2, len(curves), figsize=(3.2 * len(curves), 5.5), squeeze=False)
    for column, (name, points) in enumerate(curves.items()):
        points = [p for p in points if "failed" not in p]
        for row, (key, label) in enumerate((("seconds", "time (s)"), ("megabytes", "peak over model (MB)"))):
            axis = axes[row, column]
            axis.plot([p["x"] for p in points], [p[key] for p in points], marker="o", markersize=3)
            axis.set_ylim(bottom=0)
            axis.set_xlabel(name)
            axis.set_ylabel(label if column == 0 else "")
            axis.grid(alpha=0.3)
    figure.suptitle(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main()
