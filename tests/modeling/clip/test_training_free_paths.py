"""Training-free paths against their formulas, written out head by head and patch by patch."""

import math

import pytest
import torch
import torch.nn.functional as F

from physseg.modeling.clip import calibrated_paths, dense_paths
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.plain_tower import resize_positions
from physseg.modeling.clip.proxy_path import proxyclip
from tests.reference.small import small_clip

GRID = (2, 3)


@pytest.fixture(scope="module")
def block():
    torch.manual_seed(0)
    return ClipEncoder(small_clip(), "", 48).model.visual.transformer.resblocks[-1].double().requires_grad_(False)


@pytest.fixture
def x():
    return torch.randn(2, 7, 32, dtype=torch.float64)


def by_heads(block, x, weights_of):
    """W(A v) with one loop step for each head; weights_of(q, k) gives a head's A."""
    attn, heads = block.attn, block.attn.heads
    y = block.ln_1(x)
    parts = zip((attn.q_proj_weight, attn.k_proj_weight, attn.v_proj_weight), attn.in_proj_bias.chunk(3), strict=True)
    q, k, v = ((y @ weight.T + bias).chunk(heads, dim=-1) for weight, bias in parts)
    mixed = [weights_of(q[h], k[h]) @ v[h] for h in range(heads)]
    return torch.cat(mixed, dim=-1) @ attn.out_proj.weight.T + attn.out_proj.bias


def softmax_of(a, b, added=0.0):
    return (torch.einsum("bld,bmd->blm", a, b) / math.sqrt(a.shape[-1]) + added).softmax(-1)


def feed_forward(block, z):
    return z + block.mlp(block.ln_2(z))


def test_clip_is_the_block_as_trained(block, x):
    expected = feed_forward(block, x + by_heads(block, x, softmax_of))
    torch.testing.assert_close(dense_paths.clip(block, x), expected)
    torch.testing.assert_close(dense_paths.clip(block, x), feed_forward(block, x + block.attn(block.ln_1(x))))


def test_sclip_adds_two_attentions(block, x):
    mixed = by_heads(block, x, lambda q, k: softmax_of(q, q) + softmax_of(k, k))
    torch.testing.assert_close(dense_paths.sclip(block, x), feed_forward(block, x + mixed))


def test_clearclip_drops_residual_and_mlp(block, x):
    torch.testing.assert_close(dense_paths.clearclip(block, x), by_heads(block, x, lambda q, k: softmax_of(q, q)))


def test_naclip_prefers_near_patches(block, x):
    near = torch.zeros(7, 7, dtype=torch.float64)
    for i in range(6):
        for j in range(6):
            distance = (i // 3 - j // 3) ** 2 + (i % 3 - j % 3) ** 2
            near[1 + i, 1 + j] = math.exp(-distance / (2 * 1.5**2))
    torch.testing.assert_close(dense_paths.neighbourhood(GRID, 1.5).double(), near, rtol=0, atol=1e-7)
    expected = by_heads(block, x, lambda q, k: softmax_of(k, k, dense_paths.neighbourhood(GRID, 1.5).double()))
    torch.testing.assert_close(dense_paths.naclip(block, x, GRID, std=1.5), expected)


def test_proxyclip_mixes_values_by_the_other_models_patches(block, x):
    # Patches 0 and 1 of four are alike, the others are their opposites: S is 1 or -1, its mean 0.
    proxy = torch.tensor([[1.0, 1.0, -1.0, -1.0]], dtype=torch.float64).view(1, 1, 2, 2).expand(2, -1, -1, -1)
    values = block.attn.project(block.ln_1(x[:, 1:]), "v")[0].flatten(2)
    maps = F.interpolate(values.mT.unflatten(2, GRID), size=(2, 2), mode="bilinear").flatten(2).mT
    means = maps.unflatten(1, (2, 2)).mean(2, keepdim=True).expand(-1, -1, 2, -1).flatten(1, 2)
    torch.testing.assert_close(proxyclip(block, x, GRID, proxy), block.attn.out_proj(means))


def test_alike_patches_are_averaged_and_not_lost(block, x):
    # All of S is 1: S - 1.2 mean S is negative everywhere, and the printed formula divides 0 by 0.
    found = proxyclip(block, x, GRID, torch.ones(2, 1, 2, 2, dtype=torch.float64))
    assert found.isfinite().all()
    assert calibrated_paths.sharpened(torch.ones(1, 4, 4)).isfinite().all()


def test_repair_takes_the_right_neighbours():
    #  0 [1] 2     1 -> mean of 0, 2, 3, 4, 5
    #  3  4  5     8 -> mean of 4, 5, 7
    #  6  7 [8]
    x = torch.arange(-1.0, 9.0).view(1, 10, 1)
    wrong = torch.zeros(1, 9, dtype=torch.bool)
    wrong[0, [1, 8]] = True
    expected = torch.tensor([0, (0 + 2 + 3 + 4 + 5) / 5, 2, 3, 4, 5, 6, 7, (4 + 5 + 7) / 3])
    torch.testing.assert_close(calibrated_paths.repair(x, wrong, (3, 3))[0, :, 0], expected)


@pytest.mark.parametrize(("alone_to_zero", "expected"), [(False, 7.0), (True, 0.0)])
def test_a_patch_without_right_neighbours(alone_to_zero, expected):
    x = torch.tensor([0.0, 7.0, 7.0]).view(1, 3, 1)
    found = calibrated_paths.repair(x, torch.ones(1, 2, dtype=torch.bool), (1, 2), alone_to_zero)
    assert found.flatten().tolist() == [expected, expected]


def test_repair_knows_rows_from_columns():
    # The published code divides by the number of rows instead of columns and takes another patch here.
    x = torch.zeros(1, 13, 1)
    x[0, 1 + 11] = 5.0
    wrong = torch.zeros(1, 12, dtype=torch.bool)
    wrong[0, 11] = True
    assert not calibrated_paths.repair(x, wrong, (2, 6)).any()


def test_the_number_of_outliers_does_not_hang_on_a_rounding():
    for side, count in ((14, 10), (20, 20), (21, 23), (19, 19)):
        scores = torch.randn(1, side * side, 4)
        assert int(calibrated_paths.outlying_by_density(scores).sum()) == count


def test_density_scores_by_loops():
    x = torch.randn(1, 40, 3, dtype=torch.float64)
    d = ((x[0, :, None] - x[0]) ** 2).sum(-1)
    order = d.argsort(dim=1)[:, 1:31]
    reach = torch.stack([d[i, order[i, -1]] for i in range(40)])
    expected = torch.stack([(reach[i] / reach[order[i]]).mean() for i in range(40)])
    torch.testing.assert_close(calibrated_paths.density_scores(x)[0], expected)
    assert not calibrated_paths.outlying_by_density(torch.ones(1, 8, 2)).all()


def test_attention_outliers_need_more_than_their_own_attention():
    attention = torch.full((1, 4, 4), 0.1)
    attention[0, 0] = torch.tensor([0.0, 0.4, 0.3, 0.3])
    attention[0, 2, 2], attention[0, 3, 3] = 0.46, 0.44
    # 1.5 * 0.3 = 0.45 lies between the two.
    assert calibrated_paths.outlying_by_attention(attention)[0].tolist() == [True, False, True]


def test_levels_of_other_depths():
    assert calibrated_paths.Levels.of(12) == (3, 8, 10, (3, 4, 5, 6, 7, 8, 9))
    assert calibrated_paths.Levels.of(24) == (7, 17, 22, tuple(range(7, 20)))
    for depth in (4, 6, 32, 48):
        levels = calibrated_paths.Levels.of(depth)
        assert 0 <= levels.detailed < levels.semantic < levels.penultimate == depth - 2
        assert levels.summed


def test_positions_by_factors():
    embedding = torch.randn(1 + 9, 4)
    assert resize_positions(embedding, (3, 3), (3, 3), 0.1) is embedding
    found = resize_positions(embedding, (3, 3), (4, 5), 0.1)
    patches = embedding[1:].T.reshape(1, 4, 3, 3)
    expected = F.interpolate(patches, scale_factor=(4.1 / 3, 5.1 / 3), mode="bicubic", recompute_scale_factor=False)
    assert torch.equal(found[1:], expected[0].flatten(1).T)
    assert torch.equal(found[0], embedding[0])
    assert not torch.allclose(found, resize_positions(embedding, (3, 3), (4, 5)))
