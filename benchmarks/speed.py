#!/usr/bin/env python
"""Time, peak memory and GFLOP of inference, training and text encoding, with random weights; see README.md.

python benchmarks/speed.py [--device cuda] [--dtype bf16] [--plain] [--json OUT] [--compare OLD.json]
"""

import argparse
import contextlib
import json
import platform
import tempfile
from pathlib import Path

import torch
from cases import VARIANTS, Case
from measure import DTYPES
from worker import Worker, WorkerFailed, in_turns

KINDS = ("plain", "sliding", "train", "text")


def main() -> None:
    args = parse()
    results = []
    old = {_key(r): r for r in json.loads(Path(args.compare).read_text())["results"]} if args.compare else {}
    print(machine(args), flush=True)
    print_header(args)
    for case in chosen_cases(args):
        result = run_case(case, args)
        results.append(result)
        print_row(result, old.get(_key(result)), args)
    print_stages(results)
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": machine(args), "results": results}, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_machine_options(parser)
    parser.add_argument("--variants", nargs="+", default=["vitb16", "vitl14"], choices=VARIANTS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--classes", nargs="+", type=int, default=[20, 150, 847], help="of inference")
    parser.add_argument("--batch", type=int, default=1, help="images of a training step")
    parser.add_argument("--plain", action="store_true", help="also the plain formulation of tests/reference, in turns")
    parser.add_argument("--json", help="write results to this file")
    parser.add_argument("--compare", help="results of another commit, by the same command")
    return parser.parse_args()


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Options that `growth.py` has too."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="by autocast")
    parser.add_argument("--threads", type=int, default=0, help="on a CPU; 0: torch's choice")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="count a CPU's seconds, not the clock's: on a busy machine",
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="does it run? ViT-B/16, few classes, one repeat")
    parser.add_argument(
        "--system-allocator", action="store_true", help="leave malloc alone; the tools tell it to keep freed memory"
    )
    parser.add_argument("--opts", nargs="*", default=[], help="config overrides: KEY VALUE ...")


def chosen_cases(args: argparse.Namespace) -> list[Case]:
    variants, classes, training = args.variants, args.classes, 171
    if args.quick:
        variants, classes, training = ["vitb16"], [4], 4
    cases, opts = [], tuple(args.opts)
    for variant in variants:
        for kind in args.kinds:
            if kind in ("plain", "sliding"):
                cases += [Case(kind, variant, count, opts=opts) for count in classes]
            elif kind == "train":
                cases.append(Case(kind, variant, training, args.batch, opts=opts))
            else:
                cases.append(Case(kind, variant, max(classes[:2]), opts=opts))
    return cases


def run_case(case: Case, args: argparse.Namespace) -> dict:
    """All numbers of one case: memory first, while the processes are fresh."""
    result = {"case": case.to_dict(), "title": case.title()}
    repeats = 1 if args.quick else args.repeats
    try:
        with contextlib.ExitStack() as stack:
            fast = stack.enter_context(Worker(case, "fast", args))
            result["megabytes"] = fast.ask("megabytes")
            workers = [fast]
            if getattr(args, "plain", False):
                plain = stack.enter_context(Worker(case, "plain", args))
                result["plain_megabytes"] = plain.ask("megabytes")
                result["difference"] = difference(fast, plain)
                workers.append(plain)
            result["seconds"], *others = in_turns(workers, repeats)
            if others:
                result |= {"plain_seconds": others[0], "speed_up": others[0] / result["seconds"]}
            result |= {key: fast.ask(key) for key in ("stages", "gigaflop", "gemm_gigaflops")}
            if args.dtype != "float32":
                result["rounding"] = fast.ask("rounding")
    except WorkerFailed as failure:
        return result | {"failed": failure.args[0]}
    result["gemm_fraction"] = result["gigaflop"] / result["seconds"] / result["gemm_gigaflops"]
    result["per_second"] = (case.classes if case.kind == "text" else case.batch) / result["seconds"]
    return result


def difference(*workers: Worker) -> float:
    """Largest difference between what two workers compute."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{index}.pt" for index in range(len(workers))]
        for worker, path in zip(workers, paths, strict=True):
            worker.ask("save", str(path))
        ours, theirs = (torch.load(path, map_location="cpu", weights_only=True) for path in paths)
    return (ours - theirs).abs().max().item()


def machine(args: argparse.Namespace) -> str:
    name = torch.cuda.get_device_name() if args.device != "cpu" else platform.processor() or platform.machine()
    threads = args.threads or torch.get_num_threads()
    where = name if args.device != "cpu" else f"{name}, {threads} threads"
    clock = ", processor time" if args.processor_time else ""
    return f"{where}, torch {torch.__version__}, {args.dtype}{clock}"


def print_header(args: argparse.Namespace) -> None:
    columns = ["variant", "case", "time (s)", "per second", "peak over model (MB)", "GFLOP", "of GEMM rate"]
    columns += ["rounding"] if args.dtype != "float32" else []
    columns += ["plain (s)", "plain (MB)", "speed-up", "difference"] if args.plain else []
    columns += ["before (s)", "before / now"] if args.compare else []
    print("| " + " | ".join(columns) + " |\n|" + "---|" * len(columns), flush=True)


def print_row(result: dict, old: dict | None, args: argparse.Namespace) -> None:
    cells = [result["case"]["variant"], result["title"]]
    if "failed" in result:
        print("| " + " | ".join([*cells, f"failed ({result['failed']})"]) + " |", flush=True)
        return
    cells += [f"{result['seconds']:.3g}", f"{result['per_second']:.3g}", f"{result['megabytes']:.0f}"]
    cells += [f"{result['gigaflop']:.4g}", f"{result['gemm_fraction']:.0%}"]
    cells += [f"{result['rounding']:.1e}"] if args.dtype != "float32" else []
    if args.plain:
        cells += [f"{result['plain_seconds']:.3g}", f"{result['plain_megabytes']:.0f}"]
        cells += [f"{result['speed_up']:.2f}", f"{result['difference']:.1e}"]
    if args.compare:
        known = old and "seconds" in old
        cells += [f"{old['seconds']:.3g}", f"{old['seconds'] / result['seconds']:.2f}"] if known else ["", ""]
    print("| " + " | ".join(cells) + " |", flush=True)


def print_stages(results: list[dict]) -> None:
    """Share of each stage, in a run with a clock around every stage."""
    with_stages = [r for r in results if r.get("stages")]
    if not with_stages:
        return
    columns = list(with_stages[0]["stages"])
    print("\n| variant | case | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2))
    for r in with_stages:
        total = sum(r["stages"].values())
        cells = [f"{r['stages'][name] / total:.0%}" for name in columns]
        print("| " + " | ".join([r["case"]["variant"], r["title"], *cells]) + " |")


def _key(result: dict) -> str:
    return json.dumps(result["case"], sort_keys=True)


if __name__ == "__main__":
    main()
