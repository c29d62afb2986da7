"""Which CLIP weights train, by name."""

import pytest

from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.finetune import set_trainable
from tests.reference.small import small_clip


@pytest.fixture(scope="module")
def clip():
    return ClipEncoder(small_clip(), "", 48).model


def trained(clip) -> set[str]:
    return {name for name, parameter in clip.named_parameters() if parameter.requires_grad}


def attention(prefix: str, blocks: int) -> set[str]:
    return {f"{prefix}transformer.resblocks.{i}.attn.{w}_proj_weight" for i in range(blocks) for w in "qv"}


def test_attention_trains_q_and_v_of_both_towers(clip):
    set_trainable(clip, "attention")
    assert trained(clip) == attention("visual.", 4) | attention("", 2)


def every_attention_weight_and_bias(prefix: str, blocks: int) -> set[str]:
    leaves = ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    return {f"{prefix}transformer.resblocks.{i}.attn.{leaf}" for i in range(blocks) for leaf in leaves}


def test_attention_and_positions(clip):
    visual = every_attention_weight_and_bias("visual.", 4) | {"visual.positional_embedding"}
    set_trainable(clip, "attention_and_positions", text=False)
    assert trained(clip) == visual
    set_trainable(clip, "attention_and_positions")
    assert trained(clip) == visual | every_attention_weight_and_bias("", 2) | {"positional_embedding"}


def test_blocks_train_whole_and_nothing_around_them(clip):
    set_trainable(clip, "blocks")
    assert trained(clip) == {name for name, _ in clip.named_parameters() if "resblocks" in name}
    assert "visual.class_embedding" not in trained(clip)


def test_full_trains_all_but_the_logit_scale(clip):
    set_trainable(clip, "full")
    assert trained(clip) == {name for name, _ in clip.named_parameters()} - {"logit_scale"}


def test_frozen_trains_nothing(clip):
    set_trainable(clip, "frozen")
    assert trained(clip) == set()


def test_frozen_text(clip):
    set_trainable(clip, "attention", text=False)
    assert trained(clip) == attention("visual.", 4)
    set_trainable(clip, "full", text=False)
    assert trained(clip) == {name for name, _ in clip.named_parameters() if name.startswith("visual.")}


def test_another_policy_starts_over(clip):
    for policy in ("full", "frozen", "attention"):
        set_trainable(clip, policy)
    assert trained(clip) == attention("visual.", 4) | attention("", 2)


@pytest.mark.parametrize(
    ("policy", "text", "expected"),
    [("attention", True, True), ("attention", False, False), ("frozen", True, False), ("full", True, True)],
)
def test_encoder_knows_whether_text_trains(policy, text, expected):
    assert ClipEncoder(small_clip(), "", 48, finetune=policy, finetune_text=text).text_trains is expected


def test_unknown_policy(clip):
    with pytest.raises(ValueError, match=r"MODEL.CLIP.FINETUNE: expected one of .*'frozen'\), got 'some'"):
        set_trainable(clip, "some")
