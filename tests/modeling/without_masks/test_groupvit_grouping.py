"""GroupViT's grouping block: by hand, and against the published block's numbers where they are at hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from physseg.modeling.without_masks.groupvit_grouping import GroupVitGrouping
from tests.reference import golden

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "golden_groupvit"
# Block -> its group tokens in, out, and the seed of its inputs.
CASES = {"block_64to64": (64, 64, 10), "block_32to8": (32, 8, 20)}
DIM, PATCHES, HEADS = 384, 196, 6
_LAYERS = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "proj": "out"}
# Published name of a module -> ours.
NAMES = {
    "norm_tokens": "norm_groups",
    "mlp_inter": "mix",
    "norm_post_tokens": "norm_mixed",
    "norm_x": "norm_tokens",
    "pre_assign_attn.norm_post": "norm_queries",
    "pre_assign_attn.norm2": "norm_cross",
    "pre_assign_attn.mlp": "cross_mlp",
    "norm_new_x": "norm_new",
    "mlp_channels": "mlp",
    **{f"pre_assign_attn.attn.{theirs}": f"cross_attention.{ours}" for theirs, ours in _LAYERS.items()},
    **{f"assign.{theirs}": ours for theirs, ours in _LAYERS.items()},
}
SHARPENED = {f"{part}.{layer}_proj.weight" for part in ("assign", "pre_assign_attn.attn") for layer in "qk"}
# Biases whose true gradient is zero: what all keys of the cross-attention share, what all groups' queries share, and
# what the norm behind it takes away.
WITHOUT_EFFECT = ("pre_assign_attn.attn.k_proj.bias", "assign.q_proj.bias", "mlp_inter.fc2.bias")


def ours(published):
    module = max((name for name in NAMES if published.startswith(f"{name}.")), key=len)
    return NAMES[module] + published.removeprefix(module)


def generator(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=CASES)
def case(request):
    if not FOLDER.is_dir():
        pytest.skip("reference numbers are not at hand")
    groups_in, groups_out, seed = CASES[request.param]
    shapes = json.loads((FOLDER / f"{request.param}_state_dict_shapes.json").read_text())
    weights = {name: golden.fill(name, torch.empty(shape)) for name, shape in shapes.items()}
    block = GroupVitGrouping(DIM, groups_in, groups_out, HEADS)
    factors = {name: 2 if name in SHARPENED else 1 for name in weights}
    block.load_state_dict({ours(name): factors[name] * value for name, value in weights.items()})
    tokens = torch.randn(2, PATCHES, DIM, generator=generator(seed))
    groups = torch.randn(2, groups_in, DIM, generator=generator(seed + 1))
    target = torch.randn(2, groups_out, DIM, generator=generator(seed + 2))
    return block, tokens, groups, target, list(weights), np.load(FOLDER / f"{request.param}.npz")


def close(found, expected):
    return np.abs(found.detach().numpy() - expected).max() <= 1e-4


def test_evaluation(case):
    block, tokens, groups, _, _, reference = case
    with torch.no_grad():
        result = block(tokens, groups)
        queries = block.queries(block.norm_tokens(tokens), groups)
    assert close(queries[:, :, ::4], reference["queries"])
    assert (result.assignment.hard.argmax(1).numpy() == reference["assignment"]).all()
    assert close(result.assignment.soft[:, :, ::4], reference["soft"])
    assert close(result.tokens[:, :, ::4], reference["new"])


def test_training(case):
    block, tokens, groups, target, names, reference = case
    u = torch.rand(2, 1, target.shape[1], PATCHES, generator=generator(200))
    noise = -(-u.log()).log()[:, 0]
    assert close(noise[:, :, ::4], reference["train.noise"])
    result = block(tokens, groups, noise)
    loss = (result.tokens * target).mean()
    loss.backward()
    assert (result.assignment.hard.argmax(1).numpy() == reference["train.assignment"]).all()
    assert close(result.tokens[:, :, ::4], reference["train.new"])
    assert loss.item() == pytest.approx(float(reference["train.loss"][0]), rel=1e-5)
    gradients = {name: block.get_parameter(ours(name)).grad.norm().item() for name in names}
    expected = {name: float(reference[f"grad_norm.{name}"][0]) for name in names}
    for name in WITHOUT_EFFECT:
        assert gradients.pop(name) < 1e-6
        assert expected.pop(name) < 1e-6
    assert gradients == pytest.approx(expected, rel=1e-3)


def test_a_groups_new_token_is_its_tokens_mean_beside_the_query():
    """Two tokens of one group, none of the other, with weights that leave the formula bare."""
    block = GroupVitGrouping(4, 3, 2, 2).eval()
    with torch.no_grad():
        for layer in (block.query, block.key, block.value, block.out):
            layer.weight.copy_(torch.eye(4))
            layer.bias.zero_()
        block.mlp.fc2.weight.zero_()
        block.mlp.fc2.bias.zero_()
        tokens, groups = torch.randn(1, 2, 4), torch.randn(1, 3, 4)
        normed = block.norm_tokens(tokens)
        queries = torch.stack([normed[0].sum(0), -normed[0].sum(0)])[None]
        block.queries = lambda *_: queries
        result = block(tokens, groups)
    assert result.assignment.hard[0].tolist() == [[1, 1], [0, 0]]
    assert torch.allclose(result.tokens[0, 0], queries[0, 0] + normed[0].sum(0) / 3)
    assert torch.allclose(result.tokens[0, 1], queries[0, 1])
