"""Packed text encoding against open_clip's own pass over all 77 tokens."""

import open_clip
import pytest
import torch
import torch.nn.functional as F

from physseg.modeling.clip.weights import split_attention
from physseg.text.packed import build_prefix_tree, encode_packed
from tests.reference.small import small_clip

PROMPTS = ["a photo of a cat", "a photo of a cathedral, far away", "a photo of a cat", "dog", "a photo of"]


@pytest.fixture(scope="module")
def models():
    """The same weights with open_clip's attention and with ours."""
    torch.manual_seed(0)
    full = open_clip.create_model(small_clip()).eval()
    packed = open_clip.create_model(small_clip()).eval()
    packed.load_state_dict(full.state_dict())
    split_attention(packed)
    return full, packed


def test_prefix_tree_by_hand():
    """Prompts 1 2 9, 1 3 9 and 1 2 4 9 with EOT 9: 1, its children 2 and 3, and so on; seven prefixes."""
    tokens = torch.tensor([[1, 2, 9, 0, 0], [1, 3, 9, 0, 0], [1, 2, 4, 9, 0]])
    tree = build_prefix_tree(tokens)
    assert tree.tokens.tolist() == [1, 2, 9, 3, 9, 4, 9]
    assert tree.positions.tolist() == [0, 1, 2, 1, 2, 2, 3]
    assert tree.paths.tolist() == [[0, 1, 2, 2], [0, 3, 4, 4], [0, 1, 5, 6]]
    assert tree.ends.tolist() == [2, 4, 6]
    # The first place of each node in the (3, 4) table of paths.
    assert tree.rows.tolist() == [0, 1, 2, 5, 6, 10, 11]


@torch.no_grad()
def test_features_equal_open_clips(models):
    full, packed = models
    tokens = open_clip.get_tokenizer(small_clip())(PROMPTS)
    found = encode_packed(packed, build_prefix_tree(tokens))
    torch.testing.assert_close(found, full.encode_text(tokens), rtol=1e-5, atol=1e-5)
    assert torch.equal(found[0], found[2])


@torch.no_grad()
def test_prompts_as_long_as_the_context(models):
    full, packed = models
    tokens = open_clip.get_tokenizer(small_clip())(["word " * 100, "a cat"])
    assert tokens[0].argmax() == 76
    found = encode_packed(packed, build_prefix_tree(tokens))
    torch.testing.assert_close(found, full.encode_text(tokens), rtol=1e-5, atol=1e-5)


def test_gradients_equal_open_clips(models):
    full, packed = models
    tokens = open_clip.get_tokenizer(small_clip())(PROMPTS)
    weights = torch.randn(len(PROMPTS), 24)
    for model, features in (
        (full, full.encode_text(tokens)),
        (packed, encode_packed(packed, build_prefix_tree(tokens))),
    ):
        model.zero_grad()
        (F.normalize(features, dim=-1) * weights).sum().backward()
    theirs, ours = full.transformer.resblocks, packed.transformer.resblocks
    for a, b in zip(theirs, ours, strict=True):
        torch.testing.assert_close(b.mlp.c_fc.weight.grad, a.mlp.c_fc.weight.grad, rtol=1e-3, atol=1e-5)
        found = torch.cat([b.attn.q_proj_weight.grad, b.attn.k_proj_weight.grad, b.attn.v_proj_weight.grad])
        torch.testing.assert_close(found, a.attn.in_proj_weight.grad, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(
        packed.token_embedding.weight.grad, full.token_embedding.weight.grad, rtol=1e-3, atol=1e-5
    )
