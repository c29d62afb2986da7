import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from physseg.config import load_config
from physseg.engine.ema import WeightEMA
from physseg.engine.precision import autocast, build_grad_scaler
from physseg.engine.random_state import capture_random_state, preserved_random_state, restore_random_state
from physseg.engine.train_step import StepOptions, TrainStep
from tests.engine.fake_training import train
from tests.small_model import CONFIG, OPTS

_PLAIN = ("SOLVER.CLIP_GRADIENTS.ENABLED", "False")


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.fixture
def no_dropout(monkeypatch):
    # Dropout draws for the whole batch or for its parts: other numbers, though as good ones.
    monkeypatch.setenv("FAKE_DROPOUT", "0")


@pytest.mark.usefixtures("no_dropout")
@pytest.mark.parametrize("clip", [(), _PLAIN])
def test_four_parts_equal_one(clip, tmp_path):
    whole = train(tmp_path / "whole", *clip)
    parts = train(tmp_path / "parts", *clip, "SOLVER.ACCUMULATION_STEPS", 4)
    assert parts.losses == pytest.approx(whole.losses, abs=1e-6)
    torch.testing.assert_close(weights(parts), weights(whole), atol=1e-5, rtol=0)


@pytest.mark.parametrize("ignored", ["zero_target", "masked"])
def test_parts_with_unequal_labels_give_the_whole_batchs_means(ignored):
    opts = [*OPTS, "MODEL.TEXT.VOCABULARY", "pas20", "MODEL.LOSS.IGNORED_PIXELS", ignored]
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG, opts))
    batch = [
        {
            "image": torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8),
            "sem_seg": torch.randint(0, 20, (96, 96)),
            "structure": torch.zeros(1, 96, 96, dtype=torch.uint8),
        }
        for _ in range(2)
    ]
    batch[1]["sem_seg"][:, 20:] = 255  # a fifth of the patches, and of the pixels, that the first image has
    losses, gradients = [], []
    for parts in (1, 2):
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad])
        step = TrainStep(model, optimizer, StepOptions(accumulation_steps=parts))
        optimizer.zero_grad()
        losses.append(step._forward_backward(batch))
        gradients.append(torch.cat([p.grad.flatten() for p in step.parameters if p.grad is not None]))
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, rtol=1e-5, atol=0)
    assert (gradients[1] - gradients[0]).norm() < 1e-4 * gradients[0].norm()


def test_a_model_that_splits_batches_gets_them_whole():
    class Whole(nn.Module):
        splits_batches = True

        def __init__(self):
            super().__init__()
            self.weight, self.sizes = nn.Parameter(torch.ones(())), []

        def forward(self, batch):
            self.sizes.append(len(batch))
            return {"loss": self.weight * len(batch)}

    model = Whole()
    step = TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.1), StepOptions(accumulation_steps=4))
    assert step._forward_backward([{}] * 8)["loss"] == 8
    assert model.sizes == [8]


def test_batch_that_cannot_be_split(tmp_path):
    with pytest.raises(ValueError, match=r"IMS_PER_BATCH must be a positive multiple of SOLVER.ACCUMULATION_STEPS"):
        train(tmp_path, "SOLVER.ACCUMULATION_STEPS", 3)


def test_seed_decides(tmp_path):
    a, b, c = (train(tmp_path / name, "SEED", seed).losses for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert a == b
    assert a != c


def test_bf16_on_the_cpu_trains(tmp_path):
    full = train(tmp_path / "full").losses
    mixed = train(tmp_path / "mixed", "SOLVER.AMP.ENABLED", "True").losses
    assert mixed != full
    assert mixed == pytest.approx(full, rel=0.05)


@pytest.mark.usefixtures("no_dropout")
def test_channels_last_changes_no_loss(tmp_path):
    plain = train(tmp_path / "plain").losses
    assert train(tmp_path / "last", "ENGINE.CHANNELS_LAST", "True").losses == pytest.approx(plain, abs=1e-5)


def test_fp16_needs_a_gpu():
    with pytest.raises(ValueError, match="fp16 needs a GPU"):
        autocast("cpu", True, "fp16")
    with pytest.raises(ValueError, match='"bf16" or "fp16"; got \'fp8\''):
        autocast("cpu", True, "fp8")
    assert not build_grad_scaler("cpu", True, "bf16").is_enabled()


def test_average_by_hand():
    model = nn.Linear(1, 1, bias=False)
    frozen = nn.Linear(1, 1).requires_grad_(False)
    both = nn.ModuleList([model, frozen])
    with torch.no_grad():
        model.weight.fill_(1.0)
    ema = WeightEMA(both, decay=0.5)
    assert ema.average.keys() == {"0.weight"}
    with torch.no_grad():
        model.weight.fill_(2.0)
    ema.update(both)  # decay min(0.5, 1/10): 0.1 + 0.9 * 2
    assert ema.average["0.weight"].item() == pytest.approx(1.9)
    with ema.applied(both):
        assert model.weight.item() == pytest.approx(1.9)
    assert model.weight.item() == 2.0


def test_average_of_other_parameters():
    ema = WeightEMA(nn.Linear(1, 1), 0.5)
    with pytest.raises(ValueError, match=r"trained on one side only, such as bias. Check MODEL.CLIP.FINETUNE"):
        ema.load_state_dict({"updates": 0, "average": {"weight": torch.zeros(1, 1)}})


def test_random_state_round_trip(tmp_path):
    import random

    import numpy as np

    def draw():
        return random.gauss(0, 1), np.random.randn(), torch.rand(1).item()

    draw()
    torch.save(capture_random_state(), tmp_path / "state.pth")
    first = draw()
    restore_random_state(torch.load(tmp_path / "state.pth", weights_only=True))
    with preserved_random_state():
        assert draw() == first
    assert draw() == first
