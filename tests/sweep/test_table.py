import json
import math

import pytest
from scipy import stats

from physseg.sweep.cells import MEAN, Cell, SweepTable, paired_difference
from physseg.sweep.comparisons import comparison_lines
from physseg.sweep.plot import write_plot
from physseg.sweep.rows import Row
from physseg.sweep.run_folder import prepare
from physseg.sweep.spec import Sweep
from physseg.sweep.table import as_csv, collect, latex, markdown, write_table

A, B = "toy_ade20k_full_val_sem_seg", "toy_voc_20_val_sem_seg"


@pytest.fixture
def table():
    cells = {
        "CAT-Seg": {A: Cell({0: 1.0, 1: 2.0, 2: 3.0}), B: Cell({0: 5.0})},
        "both_losses": {A: Cell({0: 2.0, 1: 3.5, 2: 4.0}), B: Cell({})},
    }
    return SweepTable("Table 3", "CAT-Seg", [A, B], cells)


def test_cell_by_hand():
    cell = Cell({0: 1.0, 1: 2.0, 2: 3.0})
    assert (cell.mean, cell.std) == (2.0, 1.0)
    assert math.isnan(Cell({0: 1.0}).std)
    assert math.isnan(Cell({}).mean)


def test_paired_difference_is_scipys_test(table):
    difference = table.difference("both_losses", A)
    assert difference.mean == pytest.approx(3.5 / 3)
    assert difference.pairs == 3
    assert difference.p == pytest.approx(stats.ttest_rel([2.0, 3.5, 4.0], [1.0, 2.0, 3.0]).pvalue)
    assert difference.significant


def test_paired_difference_of_few_and_of_equal():
    assert math.isnan(paired_difference(Cell({0: 1.0}), Cell({0: 2.0})).p)
    assert math.isnan(paired_difference(Cell({0: 1.0}), Cell({1: 2.0})).mean)
    same = Cell({0: 1.0, 1: 2.0})
    assert paired_difference(same, same).p == 1.0


def test_markdown(table):
    lines = markdown(table).splitlines()
    assert lines[0] == "## Table 3"
    assert "|  | A-847" in lines[4].replace("toy ", "") or "A-847" in lines[4]
    assert "| CAT-Seg | 2.00 ± 1.00 | 5.00 |" in lines
    assert "| both_losses | 3.17 ± 1.04 | - |" in lines
    assert lines[-1] == "| both_losses | +1.17 ± 0.29* | - |"


def test_the_means_comparison_is_corrected_for_the_number_of_rows():
    """Differences 1, 2, 3 have t = 2 sqrt(3) with two degrees of freedom: p 0.0742, an interval of 2 +- 2.48."""
    cells = {
        "base": {A: Cell({0: 1.0, 1: 1.0, 2: 1.0}), MEAN: Cell({0: 1.0, 1: 1.0, 2: 1.0})},
        "better": {A: Cell({0: 2.0, 1: 3.0, 2: 4.0}), MEAN: Cell({0: 2.0, 1: 3.0, 2: 4.0})},
        "other": {A: Cell({0: 2.0, 1: 0.5, 2: 1.0}), MEAN: Cell({0: 2.0, 1: 0.5, 2: 1.0})},
    }
    lines = markdown(SweepTable("Weights", "base", [A, MEAN], cells, "boundary_IoU")).splitlines()
    assert lines[2].startswith("boundary_IoU, mean")
    better = [cell.strip() for cell in lines[-2].split("|")[1:-1]]
    assert better[:6] == ["better", "+2.00", "-0.48 to +4.48", "3", "0.074", "0.15"]
    assert "these 2 comparisons" in "\n".join(lines)


def test_sweeps_are_corrected_together():
    """Three comparisons in two sweeps: Holm triples the smallest p, 0.0742 (above), wherever it stands."""

    def table(title, **rows):
        cells = {"base": {MEAN: Cell(dict.fromkeys(range(3), 1.0))}}
        cells |= {name: {MEAN: Cell(dict(enumerate(values)))} for name, values in rows.items()}
        return SweepTable(title, "base", [MEAN], cells)

    first, second = table("A", better=(2.0, 3.0, 4.0)), table("B", other=(2.0, 0.5, 1.0), same=(1.0, 1.0, 1.0))
    unfinished = SweepTable("C", "base", [], {"base": {}, "later": {}})
    lines = comparison_lines([first, second, unfinished])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:]]
    assert [row[0] for row in rows] == ["A: better", "B: other", "B: same"]
    assert [row[5] for row in rows] == ["0.22", "1", "1"]
    assert "these 3 comparisons" in lines[0]


def test_other_metrics_come_from_the_same_runs(tmp_path):
    """A metric that is no number on a data set, or that a run did not count, leaves a gap and no zero."""
    rows = (Row("base", {}), Row("other", {}))
    sweep = Sweep("Two", tmp_path / "base.yaml", tmp_path, (0,), rows, "base", metrics=("mIoU", "thin_IoU"))
    scores = {"base": {"mIoU": 50.0, "thin_IoU": 20.0}, "other": {"mIoU": 60.0}}
    for run in sweep.runs:
        prepare(run)
        values = scores[run.row.name]
        results = {A: {"sem_seg": values}, B: {"sem_seg": {name: math.nan for name in values} | {"mIoU": 1.0}}}
        (run.folder / "results.json").write_text(json.dumps(results))
    thin = collect(sweep, "thin_IoU")
    assert (thin.metric, list(thin.columns)) == ("thin_IoU", [A, MEAN])
    assert thin.cells["base"][MEAN].by_seed == {0: 20.0}
    assert thin.cells["other"][A].by_seed == {}
    assert (tmp_path / "table-thin_IoU.md") in write_table(thin, tmp_path)
    assert as_csv(thin).startswith("run,dataset,seed,thin_IoU\n")
    assert collect(sweep).cells["other"][MEAN].by_seed == {0: 30.5}


def test_latex_escapes_and_csv_has_every_seed(table):
    assert r"both\_losses & $3.17 \pm 1.04$ & - \\" in latex(table)
    assert as_csv(table).splitlines()[1:3] == [f"CAT-Seg,{A},0,1.0", f"CAT-Seg,{A},1,2.0"]


def test_plot(table, tmp_path):
    write_plot(table, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"


def test_plot_of_differences(tmp_path, monkeypatch):
    """Differences 1, 2, 3: mean 2, standard deviation 1, and t at 97.5 % with two degrees of freedom is 4.3027."""
    drawn = []
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **_: drawn.append(figure))
    cells = {"CAT-Seg": {0: 1.0, 1: 2.0, 2: 3.0, 3: 9.0}, "more": {0: 2.0, 1: 4.0, 2: 6.0}, "none": {}}
    cells = {row: {MEAN: Cell(by_seed)} for row, by_seed in cells.items()}
    write_plot(SweepTable("Table 3", "CAT-Seg", [MEAN], cells), tmp_path / "table.png")
    _, differences = drawn[0].axes
    ((_, _, (bar,)),) = differences.containers
    assert bar.get_segments()[0][:, 0] == pytest.approx([2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5], abs=1e-4)
