"""Weights that follow gradients: the rule by hand, and in training, resumed and in two processes."""

import json

import pytest

from physseg.config import load_config
from physseg.engine.gradients import TermGradients
from physseg.engine.loss_balance import LossBalance, build_loss_balance
from physseg.engine.weights import read_checkpoint
from physseg.engine.writers import read_metrics
from tests.engine.fake_training import train
from tests.engine.test_launch import command_line, run_under_torchrun
from tests.engine.test_resume import assert_same

_ON = ("MODEL.PATCH_ALIGNMENT.ENABLED", "True", "SOLVER.LOSS_BALANCE.METHOD", "gradient_share")
_BALANCE = (*_ON, "SOLVER.LOSS_BALANCE.PERIOD", "2", "MODEL.PATCH_ALIGNMENT.WEIGHT", "0.5")


def measured(seg, own):
    return TermGradients({}, {"loss_structure": (seg, own)}, {})


def test_factor_gives_the_share_of_running_averages():
    balance = LossBalance({"loss_structure": 0.5}, decay=0.75)
    assert not balance.measured
    assert balance.factor("loss_structure") == 1
    balance.update(measured(4.0, 8.0))
    assert balance.measured
    assert balance.factor("loss_structure") == 0.5 * 4 / 8
    balance.update(measured(8.0, 4.0))  # averages 0.75 * 4 + 0.25 * 8 = 5 and 0.75 * 8 + 0.25 * 4 = 7
    assert balance.factor("loss_structure") == 0.5 * 5 / 7
    assert balance.factor("loss_sem_seg") == 1


@pytest.mark.parametrize("norms", [(1.0, 0.0), (0.0, 1.0), (float("inf"), 1.0), (1.0, float("nan"))])
def test_a_norm_that_says_nothing_is_passed_over(norms):
    balance = LossBalance({"loss_structure": 1.0})
    balance.update(measured(*norms))
    assert not balance.measured
    balance.update(measured(2.0, 4.0))
    balance.update(measured(*norms))
    assert balance.factor("loss_structure") == 0.5


def test_state_round_trip_through_json():
    balance = LossBalance({"loss_structure": 1.0})
    for norms in ((1 / 3, 0.7), (0.1, 0.9)):
        balance.update(measured(*norms))
    other = LossBalance({"loss_structure": 1.0})
    other.load_state_dict(json.loads(json.dumps(balance.state_dict())))
    assert other.factor("loss_structure") == balance.factor("loss_structure")


def test_shares_are_the_weights_of_the_losses_that_are_on():
    opts = [*_BALANCE, "MODEL.STRUCTURE.WEIGHT", "3.0"]
    assert build_loss_balance(load_config(None, opts)).shares == {"loss_patch_alignment": 0.5}
    opts += ["MODEL.STRUCTURE.ENABLED", "True"]
    assert build_loss_balance(load_config(None, opts)).shares == {"loss_patch_alignment": 0.5, "loss_structure": 3.0}
    assert build_loss_balance(load_config(None, [*opts, "MODEL.STRUCTURE.WEIGHT", "0.0"])).shares.keys() == {
        "loss_patch_alignment"
    }
    assert build_loss_balance(load_config(None, [])) is None


def test_training_follows_the_rule(tmp_path):
    """Every iteration measured, nothing averaged: the next one's factor is the last one's quotient."""
    train(tmp_path, *_BALANCE, "SOLVER.LOSS_BALANCE.PERIOD", "1", "SOLVER.LOSS_BALANCE.DECAY", "0.0")
    lines = [line for line in read_metrics(tmp_path / "metrics.json") if "balance/patch_alignment" in line]
    assert len(lines) == 12
    for line in lines:
        seg, own = (
            sum(line[f"gradient_norm/{term}/{part}"] ** 2 for part in ("clip", "head")) ** 0.5
            for term in ("sem_seg", "patch_alignment")
        )
        # In the fake both terms reach the same weights.
        assert line["balance/patch_alignment"] == pytest.approx(0.5 * seg / own, rel=1e-5)


def test_the_first_iteration_is_balanced_already(tmp_path):
    train(tmp_path / "plain", "SOLVER.MAX_ITER", "1")
    train(tmp_path / "balanced", *_BALANCE, "SOLVER.MAX_ITER", "1")
    plain, balanced = (read_metrics(tmp_path / name / "metrics.json")[0] for name in ("plain", "balanced"))
    factor = balanced["balance/patch_alignment"]
    assert balanced["loss_patch_alignment"] == pytest.approx(factor * plain["loss_patch_alignment"], rel=1e-6)
    assert balanced["loss_sem_seg"] == plain["loss_sem_seg"]  # dropout draws as if nothing had been measured before


def test_resumed_training_has_the_same_bits(tmp_path):
    train(tmp_path / "alone", *_BALANCE, "SOLVER.CHECKPOINT_PERIOD", "3")
    train(tmp_path / "halves", *_BALANCE, "SOLVER.CHECKPOINT_PERIOD", "3")
    for name in ("model_final.pth", "model_0000008.pth"):
        (tmp_path / "halves" / name).unlink(missing_ok=True)
    trainer = train(tmp_path / "halves", *_BALANCE, "SOLVER.CHECKPOINT_PERIOD", "3", resume=True)
    assert trainer.start_iter > 0
    final = [read_checkpoint(tmp_path / name / "model_final.pth") for name in ("alone", "halves")]
    assert final[0]["trainer"]["_trainer"]["balance"].keys() == {"loss_patch_alignment"}
    assert_same(final[0], final[1])


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_match_one(parts, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_DROPOUT", "0")
    alone = train(tmp_path / "alone", *_BALANCE).losses
    words = command_line(tmp_path / "two", *_BALANCE, "SOLVER.ACCUMULATION_STEPS", str(parts))
    assert run_under_torchrun(words) == [0, 0]
    assert json.loads((tmp_path / "two" / "losses.json").read_text()) == pytest.approx(alone, abs=1e-5)
