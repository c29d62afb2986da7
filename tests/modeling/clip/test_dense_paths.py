"""The last block's dense paths against their formulas written out."""

import pytest
import torch
import torch.nn.functional as F

from physseg.modeling.clip.dense_paths import DENSE_PATHS
from physseg.modeling.clip.encoder import ClipEncoder
from tests.reference.small import small_clip


@pytest.fixture(scope="module")
def block():
    torch.manual_seed(0)
    return ClipEncoder(small_clip(), "", 48).model.visual.transformer.resblocks[-1].double()


def written_out(block, x, residual):
    y = F.layer_norm(x, (32,), block.ln_1.weight, block.ln_1.bias)
    values = y @ block.attn.v_proj_weight.T + block.attn.in_proj_bias[64:]
    z = values @ block.attn.out_proj.weight.T + block.attn.out_proj.bias + residual
    y = F.layer_norm(z, (32,), block.ln_2.weight, block.ln_2.bias) @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
    y = y * torch.sigmoid(1.702 * y)
    return z + y @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias


def test_catseg_adds_the_class_token(block):
    x = torch.randn(2, 5, 32, dtype=torch.float64)
    torch.testing.assert_close(DENSE_PATHS["catseg"](block, x), written_out(block, x, x[:, :1].expand_as(x)))


def test_maskclip_adds_each_tokens_own_input(block):
    x = torch.randn(2, 5, 32, dtype=torch.float64)
    torch.testing.assert_close(DENSE_PATHS["maskclip"](block, x), written_out(block, x, x))


@pytest.mark.parametrize("path", ["catseg", "maskclip"])
def test_queries_and_keys_that_train_get_a_zero_gradient(block, path):
    block.requires_grad_(True)
    block.zero_grad()
    DENSE_PATHS[path](block, torch.randn(2, 5, 32, dtype=torch.float64)).square().sum().backward()
    for weight in (block.attn.q_proj_weight, block.attn.k_proj_weight):
        assert torch.equal(weight.grad, torch.zeros_like(weight))
    assert block.attn.v_proj_weight.grad.abs().sum() > 0
    # The packed bias: q's and k's thirds are not used either.
    assert not block.attn.in_proj_bias.grad[:64].any()
    assert block.attn.in_proj_bias.grad[64:].all()


def test_the_encoder_takes_the_path_it_is_told():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 48, 48)
    plain, own = ClipEncoder(small_clip(), "", 48), ClipEncoder(small_clip(), "", 48, dense_path="maskclip")
    own.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(plain(images).level2, own(images).level2)
        assert not torch.allclose(plain(images).dense, own(images).dense, atol=1e-3)


def test_unknown_path():
    with pytest.raises(ValueError, match=r"MODEL.DENSE.METHOD: expected one of \('catseg', 'maskclip'\), got 'sum'"):
        ClipEncoder(small_clip(), "", 48, dense_path="sum")
