"""The compiled hot path: one graph per part, the same numbers, any vocabulary."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from torch import nn

from physseg.config import load_config

SIZE = 48
# Sizes with whole slices of 4 classes, with a smaller last one, and with more classes than are kept.
VOCABULARIES = [[f"thing {i}" for i in range(count)] for count in (8, 7, 13)]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[nn.Module, nn.Module]:
    """A small model in double precision, and the same compiled: graphs as inductor gets them, but no C++ compiler."""
    names = tmp_path_factory.mktemp("vocabulary") / "names.txt"
    names.write_text("\n".join(VOCABULARIES[1]))
    small = ["MODEL.DEVICE", "cpu", "MODEL.CLIP.NAME", "physseg-toy", "MODEL.CLIP.PRETRAINED", ""]
    small += ["MODEL.CLIP.IMAGE_SIZE", SIZE, "MODEL.AGGREGATION.WINDOW", 3, "MODEL.AGGREGATION.DIM", 32]
    small += ["MODEL.AGGREGATION.GUIDANCE_DIM", 32, "MODEL.AGGREGATION.DECODER_DIMS", [16, 16]]
    small += ["MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS", [8, 8], "MODEL.AGGREGATION.CLASS_CHUNK", 4]
    small += ["MODEL.AGGREGATION.MAX_CLASSES", 10, "MODEL.TEXT.VOCABULARY", str(names)]
    torch.manual_seed(0)
    plain = build_model(load_config(None, small)).double()
    torch._dynamo.reset()
    compiled = copy.deepcopy(plain)
    compiled.compile(backend="aot_eager_decomp_partition")
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    return plain, compiled


def image() -> torch.Tensor:
    return torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 255


def test_predictions_are_equal_for_vocabularies_of_any_size(models):
    plain, compiled = (model.eval() for model in models)
    for names in VOCABULARIES:
        inputs = [{"image": image(), "vocabulary": names}]
        torch.testing.assert_close(compiled(inputs)[0]["sem_seg"], plain(inputs)[0]["sem_seg"])


def test_losses_and_gradients_are_equal(models):
    plain, compiled = (model.train() for model in models)
    labels = torch.randint(0, 7, (SIZE, SIZE), generator=torch.Generator().manual_seed(0))
    inputs = [{"image": image(), "sem_seg": labels}] * 2
    losses = [model(inputs)["loss_sem_seg"] for model in (plain, compiled)]
    torch.testing.assert_close(losses[1], losses[0])
    for loss in losses:
        loss.backward()
    for (name, ours), theirs in zip(compiled.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, msg=lambda text, name=name: f"{name}: {text}")


def test_a_copy_uses_its_own_weights(models):
    _, compiled = models
    inputs = [{"image": image(), "vocabulary": VOCABULARIES[0]}]
    before = compiled.eval()(inputs)[0]["sem_seg"]
    other = copy.deepcopy(compiled)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert not torch.equal(other(inputs)[0]["sem_seg"], before)
    assert torch.equal(compiled(inputs)[0]["sem_seg"], before)


def test_the_key_compiles_the_hot_path_without_graph_breaks(monkeypatch):
    compiled = set()

    def record(function, **options):
        assert options == {"fullgraph": True}
        compiled.add(type(getattr(function, "__self__", None)).__name__ + "." + function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", record)
    small = ["MODEL.DEVICE", "cpu", "MODEL.CLIP.NAME", "physseg-toy", "MODEL.CLIP.PRETRAINED", ""]
    small += ["MODEL.CLIP.IMAGE_SIZE", SIZE, "MODEL.AGGREGATION.WINDOW", 3, "MODEL.TEXT.VOCABULARY", "pas20"]
    build_model(load_config(None, small))
    assert not compiled
    build_model(load_config(None, [*small, "ENGINE.COMPILE", True]))
    free = {"NoneType.plain_block", "NoneType.text_block", "NoneType._attend"}
    assert compiled == free | {"SpatialAggregation._call_impl", "Decoder._call_impl"}
