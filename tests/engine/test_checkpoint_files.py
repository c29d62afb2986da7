"""Weight files: damage is seen, and what is no weight file is called what it is."""

import os
import random
import zipfile

import pytest
import torch
from torch import nn

from physseg.engine.checkpoint_files import checksum, read_file, write_file
from physseg.engine.weights import IncompatibleWeightsError, load_weights, read_checkpoint


@pytest.fixture
def state():
    return {"a.weight": torch.randn(5, 7), "a.bias": torch.randn(5), "steps": torch.tensor(3)}


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_round_trip(tmp_path, state, name):
    write_file(tmp_path / name, {"model": state})
    assert equal(read_checkpoint(tmp_path / name)["model"], state)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_programs_read_what_is_written(tmp_path, state):
    import safetensors.torch

    write_file(tmp_path / "w.pth", {"model": state, "iteration": 3})
    assert torch.load(tmp_path / "w.pth", weights_only=True)["iteration"] == 3
    write_file(tmp_path / "w.safetensors", {"model": state}, {"origin": "here"})
    assert equal(safetensors.torch.load_file(tmp_path / "w.safetensors"), state)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_no_flipped_bit_changes_a_weight(tmp_path, state, name):
    write_file(tmp_path / name, {"model": state})
    good = (tmp_path / name).read_bytes()
    seen = 0
    for _ in range(300):
        place, bit = random.randrange(len(good)), random.randrange(8)
        damaged = bytearray(good)
        damaged[place] ^= 1 << bit
        (tmp_path / name).write_bytes(damaged)
        try:
            content, _ = read_file(tmp_path / name)
        except ValueError as error:
            assert "Cannot read weights" in str(error)  # noqa: PT017  (either is right; what matters is below)
            seen += 1
            continue
        # Padding, times and names of the archive: nothing that matters.
        assert equal(content["model"] if name.endswith(".pth") else content, state)
    assert seen > 100


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_files_cut_short(tmp_path, state, name, share):
    write_file(tmp_path / name, {"model": state})
    good = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(good[: int(share * len(good))])
    with pytest.raises(ValueError, match=r"Cannot read weights from .*: it is damaged, cut short"):
        read_checkpoint(tmp_path / name)


def test_files_without_checksums_are_read(tmp_path, state):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "w.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert all(entry.CRC == 0 for entry in zipfile.ZipFile(tmp_path / "w.pth").infolist())
    assert equal(read_checkpoint(tmp_path / "w.pth")["model"], state)
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert equal(read_checkpoint(tmp_path / "old.pth")["model"], state)


def test_checksum_depends_on_all_but_the_order():
    a = {"x": torch.tensor([1.0, 2.0]), "y": torch.tensor([3])}
    assert checksum(a) == checksum(dict(reversed(a.items())))
    for other in (
        {"x": torch.tensor([2.0, 1.0]), "y": a["y"]},
        {"x": a["x"][None], "y": a["y"]},
        {"z": a["x"], "y": a["y"]},
        {"x": a["x"].view(torch.int32), "y": a["y"]},
    ):
        assert checksum(a) != checksum(other)


@pytest.mark.parametrize(
    ("content", "held"),
    [
        (None, "it holds None"),
        ([1, 2, 3], "it holds a list of 3"),
        ("weights", "it holds text"),
        (torch.zeros(2, 3), r"it holds one tensor of shape \(2, 3\)"),
        (3.5, "it holds a value of type float"),
        ({}, "it holds an empty dict"),
        ({"model": {}}, "it holds an empty dict"),
        ({"epoch": 3, "best": "x"}, r"it holds a dict of epoch \(int\), best \(str\)"),
        ({"model": {"a": "b"}}, r"it holds a dict of a \(str\)"),
        ({"model": "yes"}, r"it holds a dict of model \(str\)"),
        ({1: torch.zeros(2)}, r"it holds a dict of 1 \(Tensor\)"),
        (torch.optim.SGD([nn.Parameter(torch.zeros(2))], 0.1).state_dict(), "it holds an optimizer's state"),
    ],
)
def test_other_content_is_named_with_its_file(tmp_path, content, held):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=rf"odd\.pth: expected names and tensors of a model, but {held}"):
        read_checkpoint(tmp_path / "odd.pth")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(OSError, match=r"pipe\.pth is a named pipe"):
        read_checkpoint(tmp_path / "pipe.pth")
    with pytest.raises(OSError, match="is a folder"):
        read_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Weights not found: .*gone\.pth\. Check MODEL.WEIGHTS"):
        read_checkpoint(tmp_path / "gone.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(value):
    model = nn.Linear(3, 2)
    before = model.weight.clone()
    state = {"weight": torch.ones(2, 3), "bias": torch.tensor([0.0, value])}
    with pytest.raises(ValueError, match=r"w\.pth: NaN, infinite or complex numbers in 1 of 2 tensors: bias"):
        load_weights(model, state, source="w.pth")
    assert torch.equal(model.weight, before)


def test_a_sum_that_overflows_is_no_damage():
    model = nn.Linear(3, 2)
    load_weights(model, {"weight": torch.full((2, 3), 60000.0).half(), "bias": torch.zeros(2)})
    assert (model.weight == 60000).all()


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_weights_of_another_type(dtype):
    with pytest.raises(IncompatibleWeightsError, match=rf"weight: {dtype} in the file, torch.float32 in the model"):
        load_weights(nn.Linear(3, 2), {"weight": torch.ones(2, 3, dtype=dtype), "bias": torch.zeros(2)})


def test_an_average_of_another_form():
    state = nn.Linear(3, 2).state_dict()
    for ema in ({}, {"average": 3}):
        with pytest.raises(ValueError, match=r"w\.pth: its running average \(ema\) holds"):
            load_weights(nn.Linear(3, 2), {"model": state, "ema": ema}, source="w.pth")
    with pytest.raises(ValueError, match=r"expected a tensor for bias, got text"):
        load_weights(nn.Linear(3, 2), {"model": state, "ema": {"average": {"bias": "x"}}}, source="w.pth")
