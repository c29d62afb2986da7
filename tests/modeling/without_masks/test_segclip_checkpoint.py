"""SegCLIP's published names, without their values."""

import pytest
import torch

from physseg.engine.weights import IncompatibleWeightsError, load_weights
from physseg.modeling.without_masks.segclip_checkpoint import (
    SegClipCheckpointError,
    expected_shapes,
    from_segclip,
    is_segclip,
    published_name,
)

GROUPING = "clip.visual.transformer.semantic_layer2"


@pytest.fixture(scope="module")
def published():
    """The published names and shapes, all values 0 and in one place."""
    weights = {}
    for name, shape in expected_shapes().items():
        # q, k and v are one weight there.
        whole = (3 * shape[0], *shape[1:]) if name.endswith("_proj_weight") else shape
        weights[published_name(name)] = torch.zeros(()).expand(whole)
    mask = "vis_mae_decoder.mask_token"
    return weights | {mask: weights[mask].view(1, 1, -1)}


def test_names_that_the_published_model_has(published):
    assert len(published) == 414  # 415 with the decoder's positions
    assert is_segclip(published)
    for name, shape in {
        "clip.visual.transformer.layers0.9.attn.in_proj_weight": (2304, 768),
        "clip.visual.transformer.layers2.1.mlp.c_fc.bias": (3072,),
        f"{GROUPING}.semantic_center": (8, 768),
        f"{GROUPING}.cross_att.1.ln_k.weight": (768,),
        f"{GROUPING}.k_conv.weight": (768, 64, 1),
        f"{GROUPING}.proj_o.mlp.fc2.weight": (768, 3072),
        "clip.visual.transformer.reconstruct_layer2.rec_proj_a.a_fc.weight": (8, 8),
        "vis_mae_decoder.decoder_pred.weight": (768, 384),
        "vis_mae_decoder.mask_token": (1, 1, 384),
        "clip.logit_scale": (),
        "clip.token_embedding.weight": (49408, 512),
    }.items():
        assert tuple(published[name].shape) == shape


def test_packed_weights_are_split_and_the_scale_stands_twice(published):
    packed = torch.arange(3 * 768.0).repeat_interleave(768).view(3 * 768, 768)
    name = "clip.visual.transformer.layers2.0.attn.in_proj_weight"
    conversion = from_segclip(published | {name: packed, "clip.logit_scale": torch.tensor(3.0)})
    ours = "clip.model.visual.transformer.resblocks.10.attn"
    parts = [conversion.state_dict[f"{ours}.{letter}_proj_weight"] for letter in "qkv"]
    assert torch.equal(torch.cat(parts), packed)
    assert conversion.state_dict["contrastive.log_scale"] == conversion.state_dict["clip.model.logit_scale"] == 3
    assert {name: tuple(v.shape) for name, v in conversion.state_dict.items()} == expected_shapes()
    assert (conversion.system, conversion.config) == ("SegCLIP", "configs/without_masks/segclip_vitb16.yaml")


def test_what_does_not_fit_is_named(published):
    weights = dict(published)
    del weights[f"{GROUPING}.cross_ln.bias"]
    weights[f"{GROUPING}.semantic_center"] = torch.zeros(12, 768)
    weights["clip.visual.extra"] = torch.zeros(1)
    with pytest.raises(SegClipCheckpointError) as error:
        from_segclip(weights)
    text = str(error.value)
    assert f"missing (1): {GROUPING}.cross_ln.bias" in text
    assert "unexpected (1): clip.visual.extra" in text
    assert f"{GROUPING}.semantic_center: (12, 768), expected (8, 768)" in text
    assert "configs/without_masks/segclip_vitb16.yaml" in text


def test_other_positions_and_other_things(published):
    with pytest.raises(SegClipCheckpointError, match=r"decoder_pos_embed \(1, 197, 384\) are not the sine"):
        from_segclip(published | {"vis_mae_decoder.decoder_pos_embed": torch.zeros(1, 197, 384)})
    with pytest.raises(SegClipCheckpointError, match=r"hold something else: clip\.logit_scale"):
        from_segclip(published | {"clip.logit_scale": "3.0"})


def test_a_model_of_other_sizes_says_so(published):
    with pytest.raises(IncompatibleWeightsError, match="missing"):
        load_weights(torch.nn.Linear(2, 2), published)
