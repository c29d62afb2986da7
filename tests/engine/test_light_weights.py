"""Light files: small, and whole again."""

import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import save_file

from physseg.config import load_config
from physseg.engine.light_weights import lighten
from physseg.engine.weights import load_weights, read_checkpoint


@pytest.fixture(scope="module")
def model():
    """The toy model with its pretrained CLIP, one tensor of which has trained."""
    torch.manual_seed(0)
    model = build_model(load_config("toy", ("MODEL.DEVICE", "cpu")))
    with torch.no_grad():
        model.clip.model.visual.transformer.resblocks[0].attn.q_proj_weight += 0.5
    return model


def test_a_light_file_gives_the_weights_back(model, tmp_path):
    state = model.state_dict()
    tensors, metadata = lighten(state, "physseg-toy", "toy")
    save_file(tensors, tmp_path / "light.safetensors", metadata)
    found = read_checkpoint(tmp_path / "light.safetensors")["model"]
    left_out = {name for name in state if name.startswith(("structure_head.", "patch_alignment."))}
    assert found.keys() == state.keys() - left_out
    for name, value in found.items():
        assert value.dtype == state[name].dtype
        torch.testing.assert_close(value, state[name], rtol=1e-3, atol=1e-6)
    load_weights(model, tmp_path / "light.safetensors")


def test_it_leaves_out_what_has_not_changed(model):
    tensors, _ = lighten(model.state_dict(), "physseg-toy", "toy")
    clip = {name for name in tensors if name.startswith("clip.model.")}
    assert clip == {"clip.model.visual.transformer.resblocks.0.attn.q_proj_weight"}
    assert {value.dtype for value in tensors.values()} == {torch.float16}


def test_a_checkpoint_without_that_clip(model):
    state = model.state_dict()
    scale = "clip.model.logit_scale"
    with pytest.raises(ValueError, match=rf"no model with the CLIP physseg-toy: 1 of its .* such as {scale}"):
        lighten({name: value for name, value in state.items() if name != scale}, "physseg-toy", "toy")
    patches = "clip.model.visual.conv1.weight"
    with pytest.raises(ValueError, match=rf"1 of its .* or of another shape, such as {patches}; give the config"):
        lighten(state | {patches: state[patches][..., :4, :4]}, "physseg-toy", "toy")
