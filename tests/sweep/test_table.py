import math

import pytest
from scipy import stats

from physseg.sweep.plot import write_plot
from physseg.sweep.table import Cell, SweepTable, as_csv, latex, markdown, paired_difference

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


def test_latex_escapes_and_csv_has_every_seed(table):
    assert r"both\_losses & $3.17 \pm 1.04$ & - \\" in latex(table)
    assert as_csv(table).splitlines()[1:3] == [f"CAT-Seg,{A},0,1.0", f"CAT-Seg,{A},1,2.0"]


def test_plot(table, tmp_path):
    write_plot(table, tmp_path / "table.png")
    assert (tmp_path / "table.png").read_bytes()[:4] == b"\x89PNG"
