"""Which CLIP weights train: one policy in one place."""

from torch import nn

POLICIES = ("attention", "attention_and_positions", "blocks", "all_but_embeddings", "full", "frozen")
# What turns pixels and words into the tokens that enter the first blocks.
_EMBEDDINGS = ("conv1", "ln_pre", "patch_embed", "token_embedding")
_EMBEDDING_LEAVES = ("class_embedding", "positional_embedding", "pos_embed", "cls_token")


def set_trainable(clip: nn.Module, policy: str, text: bool = True) -> None:
    """Set `requires_grad` of every CLIP parameter; calling it again with another policy starts over.

    Args:
        clip: an open_clip model with `SplitAttention`.
        policy: "attention" trains the q and v projection weights of every attention, visual and text (CAT-Seg, CVPR
            2024); "attention_and_positions" every weight and bias of attention and the positional embedding (CAT-Seg
            of 2023, whose text encoder is frozen); "blocks" the transformer blocks (CAT-Seg's "full");
            "all_but_embeddings" what comes after the tokens (SegCLIP); "full" all but `logit_scale`, which the dense
            path does not use; "frozen" nothing. Where the image tower ends in an attention pool (PE-Core, SigLIP 2),
            what of it the dense path does not use never trains.
        text: False freezes the text encoder whatever the policy.

    Raises:
        ValueError: an unknown policy, or "attention" where q, k and v are one weight.
    """
    if policy not in POLICIES:
        raise ValueError(f"MODEL.CLIP.FINETUNE: expected one of {POLICIES}, got {policy!r}")
    names = [name for name, _ in clip.named_parameters()]
    if policy == "attention" and not any(n.startswith("visual.") and n.endswith("q_proj_weight") for n in names):
        raise ValueError(
            'MODEL.CLIP.FINETUNE: "attention" trains q and v without k, which are one weight in an image tower of timm '
            '(PE-Core, SigLIP 2); take "attention_and_positions", "blocks", "full" or "frozen"'
        )
    for name, parameter in clip.named_parameters():
        parameter.requires_grad_((text or name.startswith("visual.")) and _trains(name, policy))


def _trains(name: str, policy: str) -> bool:
    *modules, leaf = name.split(".")
    if "attn_pool" in modules and modules[-1] not in ("kv", "proj"):
        return False
    if policy == "attention":
        return leaf in ("q_proj_weight", "v_proj_weight")
    if policy == "attention_and_positions":
        return "attn" in modules or leaf in ("positional_embedding", "pos_embed")
    if policy == "blocks":
        return bool({"resblocks", "blocks"} & set(modules))
    if leaf in ("logit_scale", "logit_bias"):
        return False
    embeds = leaf in _EMBEDDING_LEAVES or any(module in _EMBEDDINGS for module in modules)
    return policy == "full" or (policy == "all_but_embeddings" and not embeds)
