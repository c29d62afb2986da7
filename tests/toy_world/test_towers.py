import logging

import open_clip
import pytest
import torch

from physseg.toy_world.clip import MODEL_NAME, register_toy_clip
from physseg.toy_world.towers import UsedTokens, encode_images, encode_text


@pytest.fixture(scope="module")
def model():
    logging.disable(logging.WARNING)  # "no pretrained weights" is meant here
    register_toy_clip()
    torch.manual_seed(0)
    model = open_clip.create_model(MODEL_NAME).eval()
    logging.disable(logging.NOTSET)
    return model


@torch.no_grad()
def test_pooled_features_equal_open_clips(model):
    images = torch.randn(2, 3, 96, 96)
    pooled, dense = encode_images(model.visual, images)
    torch.testing.assert_close(pooled, model.encode_image(images), atol=1e-5, rtol=1e-4)
    assert dense.shape == (2, 144, 128)


@torch.no_grad()
def test_window_stands_at_its_corner(model):
    images = torch.randn(1, 3, 48, 48)
    first, _ = encode_images(model.visual, images, corner=(0, 0))
    second, _ = encode_images(model.visual, images, corner=(6, 3))
    assert (first - second).abs().max() > 1e-3


@torch.no_grad()
def test_dense_features_by_hand(model):
    """Value-only last block with explicit matrices, one patch token at a time."""
    visual, images = model.visual, torch.randn(1, 3, 96, 96)
    _, dense = encode_images(visual, images)
    x = visual._embeds(images)
    for block in visual.transformer.resblocks[:-1]:
        x = block(x)
    last, width = visual.transformer.resblocks[-1], x.shape[-1]
    patch = x[0, 5]
    value = last.attn.in_proj_weight[-width:] @ last.ln_1(patch) + last.attn.in_proj_bias[-width:]
    token = last.attn.out_proj.weight @ value + last.attn.out_proj.bias + x[0, 0]
    token = token + last.mlp(last.ln_2(token))
    torch.testing.assert_close(dense[0, 4], visual.ln_post(token) @ visual.proj, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_text_features_equal_open_clips_on_short_captions(model):
    tokens = open_clip.get_tokenizer(MODEL_NAME)(["a red plain disc", "A photo of a green brick wall in the scene"])
    torch.testing.assert_close(encode_text(model, tokens), model.encode_text(tokens), atol=1e-5, rtol=1e-4)


def test_used_tokens_keep_order_and_refuse_strangers():
    tokens = UsedTokens(["a red disc", "a blue star"], open_clip.get_tokenizer(register_toy_clip()))
    rows = tokens(["a blue disc"])
    full = tokens.tokenizer(["a blue disc"])
    assert torch.equal(tokens.ids[rows], full)
    assert rows.argmax(1).item() == full.argmax(1).item() == 4
    with pytest.raises(ValueError, match="outside the toy world's words"):
        tokens(["a green disc"])
