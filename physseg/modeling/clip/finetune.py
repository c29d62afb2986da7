"""Which CLIP weights train: one policy in one place."""

from torch import nn

POLICIES = ("attention", "full", "frozen")


def set_trainable(clip: nn.Module, policy: str, text: bool = True) -> None:
    """Set `requires_grad` of every CLIP parameter; calling it again with another policy starts over.

    Args:
        clip: an open_clip model with `SplitAttention`.
        policy: "attention" trains the q and v projection weights of every attention, visual and text (CAT-Seg);
            "full" trains all but `logit_scale`, which the dense path does not use; "frozen" trains nothing.
        text: False freezes the text encoder whatever the policy (CAT-Seg, 2023 design).

    Raises:
        ValueError: an unknown policy.
    """
    if policy not in POLICIES:
        raise ValueError(f"MODEL.CLIP.FINETUNE: expected one of {POLICIES}, got {policy!r}")
    for name, parameter in clip.named_parameters():
        leaf = name.rsplit(".", 1)[-1]
        if not (text or name.startswith("visual.")):
            parameter.requires_grad_(False)
        elif policy == "attention":
            parameter.requires_grad_(leaf in ("q_proj_weight", "v_proj_weight"))
        else:
            parameter.requires_grad_(policy == "full" and leaf not in ("logit_scale", "logit_bias"))
