import logging

import pytest
import torch
from torch import nn

from physseg.engine.weights import IncompatibleWeightsError, load_weights, read_checkpoint


class Model(nn.Module):
    def __init__(self, width=2, structure=False):
        super().__init__()
        self.clip = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width))
        self.decoder = nn.Linear(width, 1)
        if structure:
            self.structure_head = nn.Linear(width, 1)


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}])
def test_loads_files_of_every_form(wrap, tmp_path):
    source, target = Model(), Model()
    torch.save(wrap(source.state_dict()), tmp_path / "weights.pth")
    load_weights(target, tmp_path / "weights.pth")
    assert same(source, target)


def test_loads_safetensors_and_wrapped_names(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    source, target = Model(), Model()
    state = {f"module.{name}": value for name, value in source.state_dict().items()}
    safetensors.save_file(state, tmp_path / "weights.safetensors")
    load_weights(target, tmp_path / "weights.safetensors")
    assert same(source, target)


def test_average_is_preferred_and_can_be_refused():
    source, target = Model(), Model()
    average = {"decoder.bias": torch.tensor([7.0])}
    checkpoint = {"model": source.state_dict(), "ema": {"updates": 1, "average": average}}
    load_weights(target, checkpoint)
    assert target.decoder.bias.item() == 7.0
    load_weights(target, checkpoint, averaged=False)
    assert same(source, target)


def test_misfit_lists_keys_and_config_keys_and_changes_nothing():
    target = Model()
    before = {name: value.clone() for name, value in target.state_dict().items()}
    state = Model(width=3).state_dict()
    del state["clip.1.bias"]
    state["guidance.up.weight"] = torch.zeros(1)
    with pytest.raises(IncompatibleWeightsError) as caught:
        load_weights(target, state, source="there.pth")
    message = str(caught.value)
    assert "there.pth (6 tensors) does not fit the model" in message
    assert "missing (1): clip.1.bias" in message
    assert "unexpected (1): guidance.up.weight" in message
    assert "clip.0.weight: (3, 3) in the file, (2, 2) in the model" in message
    assert "Config keys to check: MODEL.CLIP.NAME, MODEL.CLIP.IMAGE_SIZE" in message
    assert "MODEL.AGGREGATION.DECODER_DIMS" in message
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_weights_of_another_model_are_called_so():
    with pytest.raises(IncompatibleWeightsError, match=r"Not one key is known: these are weights of another model"):
        load_weights(Model(), {"pixel_decoder.weight": torch.zeros(1)})


def test_published_names_that_do_not_fit_are_named_with_their_file():
    with pytest.raises(IncompatibleWeightsError, match=r"there.pth: no weights of CAT-Seg: "):
        load_weights(Model(), {"sem_seg_head.predictor.weight": torch.zeros(1)}, source="there.pth")


@pytest.mark.parametrize(("in_file", "in_model"), [(True, False), (False, True)])
def test_training_only_parts_may_differ(in_file, in_model, caplog):
    source, target = Model(structure=in_file), Model(structure=in_model)
    with caplog.at_level(logging.WARNING):
        load_weights(target, source.state_dict())
    assert torch.equal(source.decoder.weight, target.decoder.weight)
    assert "structure_head.weight, structure_head.bias" in caplog.text


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Weights not found: .*nowhere.pth. Check MODEL.WEIGHTS"):
        read_checkpoint(tmp_path / "nowhere.pth")


class Payload:
    def __reduce__(self):
        return print, ("this would run",)


def test_code_in_a_checkpoint_does_not_run(tmp_path, capsys):
    torch.save({"model": {}, "extra": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"Unsupported global.*arbitrary pickled code are refused"):
        read_checkpoint(tmp_path / "evil.pth")
    assert "would run" not in capsys.readouterr().out
