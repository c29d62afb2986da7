from dataclasses import replace

import pytest
import yaml

from physseg.sweep.cells import MEAN, Cell, SweepTable
from physseg.sweep.confirm import write_confirmation
from physseg.sweep.rows import Row
from physseg.sweep.spec import Sweep, load_sweep

SAC, P = "MODEL.PATCH_ALIGNMENT.WEIGHT", "MODEL.STRUCTURE.WEIGHT"
ROWS = {
    "CAT-Seg": ({"SOLVER.MAX_ITER": 5}, (50.0, 51.0)),
    "L_sac 1": ({"SOLVER.MAX_ITER": 5, SAC: 1.0}, (48.0, 49.0)),
    "L_sac 0.1": ({"SOLVER.MAX_ITER": 5, SAC: 0.1}, (50.0, 50.5)),
    "L_p 3": ({"SOLVER.MAX_ITER": 5, P: 3.0}, (52.0, 52.0)),
    "L_p 1": ({"SOLVER.MAX_ITER": 5, P: 1.0}, (53.0, 50.0)),
    "L_sac 1 + L_p 3": ({"SOLVER.MAX_ITER": 5, SAC: 1.0, P: 3.0}, (60.0, 60.0)),
}


@pytest.fixture
def screening(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER: {MAX_ITER: 3}\n")
    rows = tuple(Row(name, overrides) for name, (overrides, _) in ROWS.items())
    sweep = Sweep("Screening", tmp_path / "base.yaml", tmp_path / "runs", (0, 1), rows, "CAT-Seg", metrics=("pACC",))
    cells = {name: {MEAN: Cell(dict(enumerate(values)))} for name, (_, values) in ROWS.items()}
    return sweep, SweepTable("Screening", "CAT-Seg", [MEAN], cells, "pACC")


def test_the_best_of_each_family_alone_and_together(screening, tmp_path):
    """L_sac's best is below the baseline and still its best; the joint row of the screening is no candidate."""
    path = tmp_path / "other" / "confirm.yaml"
    names = write_confirmation(screening[0], [screening], ["L_sac", "L_p"], 3, path)
    assert names == ["CAT-Seg", "L_sac 0.1", "L_p 3", "L_sac 0.1 + L_p 3"]
    confirmation = load_sweep(path)
    assert [row.name for row in confirmation.rows] == names
    assert confirmation.seeds == (100, 101, 102)
    assert (confirmation.baseline, confirmation.metrics) == ("CAT-Seg", ("pACC",))
    assert confirmation.rows[-1].overrides == {"SOLVER.MAX_ITER": 5, SAC: 0.1, P: 3.0}
    assert confirmation.config_file.samefile(tmp_path / "base.yaml")


def test_several_screenings_choose_together_for_another_sweep(screening, tmp_path):
    """L_p 3 leads by 1.5, L_p 1 by 1.0; in the other world L_p 3 trails by 2: the mean prefers L_p 1."""
    sweep, table = screening
    cells = table.cells | {"L_p 3": {MEAN: Cell({0: 48.0, 1: 49.0})}}
    other = (replace(sweep, title="Other", seeds=(0, 1)), replace(table, cells=cells))
    rows = tuple(Row(row.name, {"SEED_OF": "third"} if row.name != "CAT-Seg" else {}) for row in sweep.rows)
    third = replace(sweep, title="Third", seeds=(9,), rows=rows)
    path = tmp_path / "c.yaml"
    assert write_confirmation(third, [screening, other], ["L_p"], 2, path) == ["CAT-Seg", "L_p 1"]
    assert yaml.safe_load(path.read_text())["runs"][1]["set"] == {"SEED_OF": "third"}
    assert "chosen by 'Screening', 'Other'" in path.read_text().splitlines()[0]


def test_a_sweep_without_the_chosen_row(screening, tmp_path):
    sweep, _ = screening
    with pytest.raises(ValueError, match=r"'Screening' has no run 'L_p 3', which the screening chose"):
        write_confirmation(replace(sweep, rows=sweep.rows[:2]), [screening], ["L_p"], 2, tmp_path / "c.yaml")
    less = (replace(sweep, title="Less", rows=sweep.rows[:2]), screening[1])
    with pytest.raises(ValueError, match=r"'Less' and 'Screening' have other rows"):
        write_confirmation(sweep, [screening, less], ["L_p"], 2, tmp_path / "c.yaml")


def test_one_family_has_no_joint_row(screening, tmp_path):
    assert write_confirmation(screening[0], [screening], ["L_p"], 2, tmp_path / "c.yaml") == ["CAT-Seg", "L_p 3"]


@pytest.mark.parametrize(
    ("families", "seeds", "message"),
    [(["L_x"], 3, r"no run's name begins with 'L_x'"), (["L_p"], 1, r"confirming takes 2 or more seeds, from 100 on")],
)
def test_what_cannot_be_confirmed(screening, tmp_path, families, seeds, message):
    with pytest.raises(ValueError, match=message):
        write_confirmation(screening[0], [screening], families, seeds, tmp_path / "c.yaml")


def test_an_unfinished_screening_chooses_nothing(screening, tmp_path):
    sweep, table = screening
    del table.cells["L_p 1"][MEAN].by_seed[1]
    with pytest.raises(ValueError, match=r"1 rows of 'Screening' are not done with every seed, such as 'L_p 1'"):
        write_confirmation(sweep, [(sweep, table)], ["L_p"], 3, tmp_path / "c.yaml")
    assert not (tmp_path / "c.yaml").exists()
