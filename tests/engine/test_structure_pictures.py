"""The hook puts pictures into the event storage when due, and leaves the model as it was."""

from types import SimpleNamespace

import torch
from detectron2.utils.events import EventStorage

from physseg.engine.structure_pictures import StructurePictures


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.modes = []

    def structure_logits(self, batch):
        self.modes.append((self.training, torch.is_grad_enabled()))
        return torch.zeros(len(batch), 2, 4, 4)

    def structure_targets(self, batch):
        return torch.stack([sample["structure"] for sample in batch])


def samples() -> list[dict]:
    return [
        {"image": torch.zeros(3, 32, 48, dtype=torch.uint8), "structure": torch.ones(2, 32, 48, dtype=torch.uint8)}
        for _ in range(2)
    ]


def run(hook: StructurePictures, model: torch.nn.Module, iterations: int) -> list[tuple]:
    with EventStorage() as storage:
        hook.trainer = SimpleNamespace(model=model, storage=storage, iter=0)
        for hook.trainer.iter in range(iterations):
            storage.iter = hook.trainer.iter
            hook.after_step()
        return list(storage._vis_data)


def test_pictures_every_period_of_the_same_samples():
    calls = []
    hook = StructurePictures(4, ("canny", "sift"), lambda: calls.append(1) or samples())
    model = Model().train()
    pictures = run(hook, model, 9)
    assert [(name, step) for name, _, step in pictures] == [(f"structure/{i}", step) for step in (3, 7) for i in (0, 1)]
    assert pictures[0][1].shape == (3, 32 + 28, 5 * 48)  # image and, for both sources, truth and estimate
    assert len(calls) == 1
    assert model.modes == [(False, False)] * 2
    assert model.training


def test_wrapped_model_and_period_zero():
    wrapped = torch.nn.Module()
    wrapped.module = Model()
    assert len(run(StructurePictures(1, ("canny", "sift"), samples), wrapped, 1)) == 2
    assert run(StructurePictures(0, ("canny", "sift"), samples), wrapped, 3) == []
