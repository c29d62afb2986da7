"""Run the trainings of a sweep file and write one table of them.

    python tools/sweep.py configs/sweeps/toy_table3.yaml --dry-run
    python tools/sweep.py configs/sweeps/toy_table3.yaml --jobs 2
    python tools/sweep.py A.yaml --table-only --together-with B.yaml C.yaml

Interrupted at any point, the same command goes on. See docs/sweeps.md.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence

from physseg import signals
from physseg.cli.arguments import MOST_PROCESSES, new_parser, number, some_path
from physseg.io import write_text_atomic
from physseg.paths import writable_file, writable_folder
from physseg.sweep import run_folder
from physseg.sweep.comparisons import comparison_lines
from physseg.sweep.confirm import write_confirmation
from physseg.sweep.runner import TRAIN_COMMAND, SweepRunner
from physseg.sweep.slurm import submit
from physseg.sweep.spec import load_sweep
from physseg.sweep.table import collect, markdown, write_table

logger = logging.getLogger("physseg.sweep")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = new_parser(__doc__)
    result.add_argument("sweep", metavar="FILE", help="a sweep file, such as configs/sweeps/toy_table3.yaml")
    result.add_argument(
        "--jobs", type=number(int, 1, MOST_PROCESSES), default=1, metavar="N", help="trainings at once (default: 1)"
    )
    result.add_argument(
        "--output", type=some_path, metavar="FOLDER", help="folder of the runs (default: what the file says)"
    )
    result.add_argument(
        "--retries", type=number(int, 0), default=1, metavar="N", help="more tries of a failed run (default: 1)"
    )
    result.add_argument("--dry-run", action="store_true", help="check the file and show the commands, run nothing")
    result.add_argument("--table-only", action="store_true", help="write the table of the runs that are done")
    result.add_argument(
        "--confirm", type=some_path, metavar="FILE", help="write the sweep file that confirms the best rows"
    )
    result.add_argument("--families", nargs="+", metavar="PREFIX", help="for --confirm: how a family's rows begin")
    result.add_argument(
        "--chosen-by", nargs="+", metavar="FILE", help="for --confirm: finished sweeps that choose (default: this one)"
    )
    result.add_argument(
        "--fresh-seeds", type=number(int, 1, 1000), default=10, metavar="N", help="for --confirm (default: 10)"
    )
    result.add_argument(
        "--together-with",
        nargs="+",
        metavar="FILE",
        help="sweep files whose comparisons are corrected together with this one's, from the runs that are done",
    )
    result.add_argument("--slurm", action="store_true", help="submit the runs to SLURM (extra: slurm)")
    return result


def main(argv: Sequence[str] | None = None, command: Sequence[str] = TRAIN_COMMAND) -> int:
    """Run a sweep and return the exit status: 0 if all runs are done, 130 after Ctrl-C, else 1.

    Args:
        argv: without the program's name; None takes the process's.
        command: the training program.
    """
    args = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", datefmt="%H:%M:%S", force=True)
    try:
        sweep = load_sweep(args.sweep, args.output)
        more = [load_sweep(file) for file in args.together_with or ()]
        for option, value in (("--families", args.families), ("--chosen-by", args.chosen_by)):
            if value and not args.confirm:
                raise ValueError(f"{option} is about what --confirm FILE writes: give that, too.")
        if args.confirm:
            writable_file(args.confirm, "sweep file to write")
        if args.dry_run:
            for run in sweep.runs:
                state = "done" if run_folder.read_results(run) is not None else "to do"
                print(f"# {run.name}: {state}\n{shlex.join([*command, *run.arguments])}")
            print(f"# {len(sweep.runs)} runs in {sweep.folder}")
            return 0
        if args.confirm:
            if not args.families:
                raise ValueError("--confirm needs --families, such as --families L_sac L_p")
            deciding = [load_sweep(file) for file in args.chosen_by] if args.chosen_by else [sweep]
            screenings = [(each, collect(each, sweep.metrics[0])) for each in deciding]
            print("\n".join(write_confirmation(sweep, screenings, args.families, args.fresh_seeds, args.confirm)))
            return 0
        writable_folder(sweep.folder)
        complete = _run(sweep, args, command)
    except KeyboardInterrupt as stop:
        return signals.report(stop)
    for metric in sweep.metrics:
        table = collect(sweep, metric)
        if table.columns:
            paths = write_table(table, sweep.folder)
            print(f"\n{markdown(table)}\nWritten: {', '.join(map(str, paths))}")
    if more:
        lines = comparison_lines([collect(each, sweep.metrics[0]) for each in (sweep, *more)])
        path = sweep.folder / "comparisons.md"
        write_text_atomic(path, "\n".join(lines) + "\n")
        print("\n".join(["", *lines, "", f"Written: {path}"]))
    return 0 if complete else 1


def _run(sweep, args: argparse.Namespace, command: Sequence[str]) -> bool:
    if args.table_only:
        return True
    if args.slurm:
        return submit(sweep, command)
    runner = SweepRunner(sweep, args.jobs, args.retries, command)
    complete = runner.run()
    for name, reason in runner.failed.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    return complete
