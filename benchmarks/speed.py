#!/usr/bin/env python
"""Time, peak memory and GFLOP of inference, training and text encoding, with random weights; see README.md.

python benchmarks/speed.py [--device cuda] [--dtype bf16] [--plain] [--json OUT] [--compare OLD.json]
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

import torch
from cases import VARIANTS, Case, build_model, build_plain, fast_function, plain_function, stage_clocks
from measure import DTYPES, gemm_rate, gigaflop, peak_megabytes, seconds, synchronise

KINDS = ("plain", "sliding", "train", "text")


def main() -> None:
    args = parse()
    if args.case:
        print(json.dumps(run_case(Case(**json.loads(args.case)), args)))
        return
    results = []
    old = {_key(r): r for r in json.loads(Path(args.compare).read_text())["results"]} if args.compare else {}
    print(machine(args), flush=True)
    print_header(args)
    for case in chosen_cases(args):
        result = in_own_process(case, args)
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
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """Options that `growth.py` has too."""
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="by autocast")
    parser.add_argument("--threads", type=int, default=0, help="on a CPU; 0: torch's choice")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="does it run? ViT-B/16, few classes, one repeat")
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


def in_own_process(case: Case, args: argparse.Namespace) -> dict:
    """Run a case in a process of its own, so that no case's memory is another's."""
    command = [sys.executable, str(Path(__file__).with_name("speed.py")), "--case", json.dumps(case.to_dict())]
    command += ["--device", args.device, "--dtype", args.dtype, "--threads", str(args.threads)]
    command += ["--repeats", str(args.repeats), *(["--quick"] if args.quick else [])]
    command += ["--plain"] if getattr(args, "plain", False) else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"case": case.to_dict(), "title": case.title(), "failed": done.returncode}
    return json.loads(done.stdout.splitlines()[-1])


def run_case(case: Case, args: argparse.Namespace) -> dict:
    """All numbers of one case: memory first, while the process is fresh."""
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    device, repeats = args.device, 1 if args.quick else args.repeats
    model = build_model(case, device)
    with torch.autocast(torch.device(device).type, DTYPES[args.dtype], enabled=args.dtype != "float32"):
        fast = fast_function(case, model)
        result = {"case": case.to_dict(), "title": case.title(), "megabytes": peak_megabytes(fast, device)}
        functions = [fast]
        if args.plain:
            plain = plain_function(case, build_plain(case, model, device), model.clip.tokenizer, device)
            result["plain_megabytes"] = peak_megabytes(plain, device)
            functions.append(plain)
            result["difference"] = (fast() - plain()).abs().max().item()
        result["seconds"], *others = seconds(functions, device, repeats)
        if others:
            result |= {"plain_seconds": others[0], "speed_up": others[0] / result["seconds"]}
        if case.kind in ("plain", "sliding"):
            result["stages"] = stages(model, fast, device)
        result["gigaflop"] = gigaflop(fast)
    if args.dtype != "float32":
        with torch.autocast(torch.device(device).type, DTYPES[args.dtype]):
            rounded = fast()
        result["rounding"] = (rounded - fast()).abs().max().item()
    rate = gemm_rate(device, DTYPES[args.dtype], args.quick)
    result["gemm_gigaflops"] = rate
    result["gemm_fraction"] = result["gigaflop"] / result["seconds"] / rate
    result["per_second"] = (case.classes if case.kind == "text" else case.batch) / result["seconds"]
    return result


def stages(model: torch.nn.Module, run, device: str) -> dict[str, float]:
    """Seconds in each stage of one run; the rest is cost volume, resizing and argmax."""

    def clock() -> float:
        synchronise(device)
        return time.perf_counter()

    start = clock()
    with stage_clocks(model, clock) as spent:
        run()
    return spent | {"rest": clock() - start - sum(spent.values())}


def machine(args: argparse.Namespace) -> str:
    name = torch.cuda.get_device_name() if args.device != "cpu" else platform.processor() or platform.machine()
    threads = args.threads or torch.get_num_threads()
    where = name if args.device != "cpu" else f"{name}, {threads} threads"
    return f"{where}, torch {torch.__version__}, {args.dtype}"


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
    with_stages = [r for r in results if "stages" in r]
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
