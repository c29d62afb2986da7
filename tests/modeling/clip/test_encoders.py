"""Encoders other than OpenAI's: statistics by tag, activation, attention pools, bidirectional text."""

from types import SimpleNamespace

import open_clip
import pytest
import torch
from open_clip.transformer import TextTransformer
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from physseg import load_config
from physseg.modeling.clip.finetune import set_trainable
from physseg.modeling.clip.pool_tower import PoolTower
from physseg.modeling.clip.statistics import configured_statistics, image_statistics
from physseg.modeling.clip.weights import create_clip, split_attention
from physseg.text.whole import encode_whole

OPENAI = ((122.7709383, 116.7460125, 104.09373615), (68.5005327, 66.6321579, 70.323163))
LARGE = ["MODEL.CLIP.IMAGE_SIZE", 336]
HALF = ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5))
SIZES = {"patch_size": 4, "img_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2, "global_pool": "map"}


@pytest.mark.parametrize(
    ("name", "pretrained", "expected"),
    [
        ("ViT-B-16-quickgelu", "openai", OPENAI),
        ("ViT-L-14", "laion2b_s32b_b82k", HALF),
        ("ViT-L-14", "datacomp_xl_s13b_b90k", OPENAI),
        ("PE-Core-B-16", "meta", HALF),
        # Weights without a tag: what all of the name's tags have, else OpenAI's.
        ("PE-Core-B-16", "weights.pt", HALF),
        ("ViT-B-16-SigLIP2-384", "", HALF),
        ("ViT-L-14", "weights.pt", OPENAI),
        ("physseg-toy", "toy", OPENAI),
    ],
)
def test_statistics_belong_to_the_weights(name, pretrained, expected):
    assert image_statistics(name, pretrained) == expected


def test_a_config_takes_the_statistics_of_its_encoder():
    assert tuple(load_config(None).MODEL.PIXEL_MEAN) == OPENAI[0]
    half = load_config(None, ["MODEL.CLIP.NAME", "ViT-L-14", "MODEL.CLIP.PRETRAINED", "laion2b_s32b_b82k", *LARGE])
    assert (half.MODEL.PIXEL_MEAN, half.MODEL.PIXEL_STD) == ([127.5] * 3, [127.5] * 3)
    told = load_config(None, ["MODEL.CLIP.NAME", "PE-Core-B-16", "MODEL.PIXEL_MEAN", [1, 2, 3]])
    assert (told.MODEL.PIXEL_MEAN, told.MODEL.PIXEL_STD) == ([1.0, 2.0, 3.0], [127.5] * 3)


def test_statistics_of_other_weights_are_told(caplog):
    cfg = load_config(None, ["MODEL.CLIP.NAME", "ViT-L-14", "MODEL.CLIP.PRETRAINED", "laion2b_s32b_b82k", *LARGE])
    assert configured_statistics(cfg) == HALF
    assert not caplog.records
    # As a config has them that load_config did not read.
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = (list(values) for values in OPENAI)
    assert configured_statistics(cfg) == OPENAI
    assert "laion2b_s32b_b82k of ViT-L-14 was trained with (127.5, 127.5, 127.5)" in caplog.text


@pytest.mark.parametrize("tag", ["metaclip_fullcc", "dfn2b"])
def test_a_tag_of_quickgelu_needs_its_model(tag):
    with pytest.raises(ValueError, match=r"trained with QuickGELU .* set MODEL.CLIP.NAME to 'ViT-B-16-quickgelu'"):
        create_clip("ViT-B-16", tag)


def tower(kind):
    torch.manual_seed(0)
    if kind == "siglip":
        trunk = VisionTransformer(**SIZES, class_token=False, num_classes=0, dynamic_img_size=True)
    else:
        rotary = {"use_rot_pos_emb": True, "attn_type": "rope", "ref_feat_shape": (4, 4), "rope_grid_indexing": "xy"}
        trunk = Eva(**SIZES, **rotary, num_classes=24, head_init_scale=0.0, dynamic_img_size=True)
        nn.init.normal_(trunk.head.weight)
    return PoolTower(SimpleNamespace(trunk=trunk.eval(), head=nn.Sequential()))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "prefix", "embed"), [("siglip", 0, 32), ("pe", 1, 24)])
def test_pool_tower_takes_any_grid(kind, prefix, embed):
    pool = tower(kind)
    assert (pool.patch, pool.width, pool.depth, pool.prefix, pool.embed_dim) == (4, 32, 3, prefix, embed)
    # The last column of pixels fills no patch.
    tokens = pool.tokens(torch.randn(2, 3, 8, 13), keep=(0, 1))
    assert tokens.grid == (2, 3)
    assert [level.shape for level in tokens.levels.values()] == [(2, prefix + 6, 32)] * 2
    assert pool.dense("maskclip", tokens.last).shape == (2, 6, embed)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["siglip", "pe"])
def test_a_pool_over_one_token_is_the_dense_path(kind):
    """Attention over a single token is that token's own value: pooling equals the dense path, its MLP off."""
    pool = tower(kind)
    trunk = pool.visual.trunk
    trunk.attn_pool.mlp.fc2.weight.zero_()
    trunk.attn_pool.mlp.fc2.bias.zero_()
    images = torch.randn(2, 3, 8, 8)
    last = pool.tokens(images).last
    for index in range(2):
        one = last[:, pool.prefix + index : pool.prefix + index + 1]
        pooled = trunk.head(trunk.fc_norm(trunk.attn_pool(one)))
        torch.testing.assert_close(pool.dense("maskclip", last)[:, index], pooled)


def test_what_of_a_pool_the_dense_path_does_not_use_never_trains():
    model = nn.Module()
    model.visual = nn.Module()
    model.visual.trunk = tower("pe").visual.trunk
    set_trainable(model, "full")
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    pool = "visual.trunk.attn_pool."
    assert frozen == {n for n, _ in model.named_parameters() if n.startswith(pool)} - {
        f"{pool}{n}" for n in ("kv.weight", "kv.bias", "proj.weight", "proj.bias")
    }
    with pytest.raises(ValueError, match='"attention" trains q and v without k, which are one weight'):
        set_trainable(model, "attention")


@torch.no_grad()
def test_bidirectional_text_is_open_clips():
    torch.manual_seed(0)
    options = {"context_length": 6, "vocab_size": 50, "width": 16, "heads": 2, "layers": 2, "output_dim": 8}
    text = TextTransformer(**options, no_causal_mask=True, pool_type="last", proj_bias=True).eval()
    tokens = torch.randint(0, 50, (3, 6))
    expected = text(tokens)
    split_attention(text)
    torch.testing.assert_close(encode_whole(text, tokens), expected)


def test_towers_of_another_kind():
    assert "RN50" in open_clip.list_models()
    with pytest.raises(ValueError, match="'RN50' is not a plain ViT"):
        create_clip("RN50", "")
