"""Which CLIP weights train: one policy in one place."""

from torch import nn

POLICIES = ("attention", "attention_and_positions", "blocks", "full", "frozen")


def set_trainable(clip: nn.Module, policy: str, text: bool = True) -> None:
    """Set `requires_grad` of every CLIP parameter; calling it again with another policy starts over.

    Args:
        clip: an open_clip model with `SplitAttention`.
        policy: "attention" trains the q and v projection weights of every attention, visual and text (CAT-Seg, CVPR
            2024); "attention_and_positions" every weight and bias of attention and the positional embedding (CAT-Seg
            of 2023, whose text encoder is frozen); "blocks" the transformer blocks (CAT-Seg's "full"); "full" all but
            `logit_scale`, which the dense path does not use; "frozen" nothing.
        text: False freezes the text encoder whatever the policy.

    Raises:
        ValueError: an unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"MODEL.CLIP.FINETUNE: expected one of {POLICIES}, got {policy!r}")
    for name, parameter in clip.named_parameters():
        parameter.requires_grad_((text or name.startswith("visual.")) and _trains(name, policy))


def _trains(name: str, policy: str) -> bool:
    *modules, leaf = name.split(".")
    if policy == "attention":
        return leaf in ("q_proj_weight", "v_proj_weight")
    if policy == "attention_and_positions":
        return "attn" in modules or leaf == "positional_embedding"
    if policy == "blocks":
        return "resblocks" in modules
    return policy == "full" and leaf not in ("logit_scale", "logit_bias")
