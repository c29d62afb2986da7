"""AdamW with the recipe's parameter groups, and gradient clipping over the full model.

Source of the grouping: CAT-Seg's training script (CLIP at a hundredth of the learning rate, no weight decay on
normalisation layers, on relative position tables and on absolute position embeddings).
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

_NORM_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)
# log_scale: decay would pull the alignment loss's temperature to 1; CLIP spares its own too.
_NO_DECAY = ("relative_position_bias_table", "absolute_pos_embed", "log_scale")


def param_groups(
    model: nn.Module,
    base_lr: float,
    clip_multiplier: float,
    weight_decay: float,
    weight_decay_norm: float,
    backbone_multiplier: float = 1.0,
) -> list[dict]:
    """Sort the trainable parameters into groups of one learning rate and one weight decay.

    A parameter belongs to CLIP or to the appearance backbone if ``model.param_group_of(name)`` says "clip" or
    "backbone", or, for a model without that method, if its name starts with "clip." or "guidance.backbone.".

    Returns:
        Up to six dicts with ``name`` ("head", "clip", "backbone", and each with "_no_decay"), ``params``, ``lr`` and
        ``weight_decay``; a parameter shared by two modules comes once.

    Raises:
        ValueError: nothing is trainable.
    """
    group_of = getattr(model, "param_group_of", _group_of)
    multipliers = {"clip": clip_multiplier, "backbone": backbone_multiplier, "head": 1.0}
    groups: dict[str, dict] = {}
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for own_name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            group = group_of(f"{module_name}.{own_name}" if module_name else own_name)
            lr = base_lr * multipliers[group]
            decay = weight_decay
            if isinstance(module, _NORM_LAYERS):
                decay = weight_decay_norm
            elif any(part in own_name for part in _NO_DECAY):
                decay = 0.0
            name = group + ("" if decay == weight_decay else "_no_decay")
            # Two reasons for another decay (norm layer, position table) may come with two values.
            key = f"{name}/{decay}"
            groups.setdefault(key, {"name": name, "params": [], "lr": lr, "weight_decay": decay})
            groups[key]["params"].append(parameter)
    if not groups:
        raise ValueError("The model has no trainable parameter; check MODEL.CLIP.FINETUNE and what is frozen.")
    return list(groups.values())


def _group_of(name: str) -> str:
    prefixes = {"clip.": "clip", "guidance.backbone.": "backbone"}
    return next((group for prefix, group in prefixes.items() if name.startswith(prefix)), "head")


def build_optimizer(cfg, model: nn.Module) -> torch.optim.AdamW:
    """AdamW over `param_groups`, from the keys of SOLVER.

    Raises:
        ValueError: as `param_groups`, or a model that trains nothing.
    """
    if not getattr(model, "needs_training", True):
        raise ValueError(
            f"MODEL.META_ARCHITECTURE {type(model).__name__} trains nothing, so there is nothing to optimise: evaluate "
            "it (tools/evaluate_benchmarks.py, or --eval-only), or train PhysSeg"
        )
    groups = param_groups(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        clip_multiplier=cfg.SOLVER.CLIP_MULTIPLIER,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        backbone_multiplier=cfg.SOLVER.BACKBONE_MULTIPLIER,
    )
    solver = cfg.SOLVER
    return torch.optim.AdamW(
        groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS), eps=solver.EPS, weight_decay=solver.WEIGHT_DECAY
    )


def clip_gradients(
    parameters: Iterable[nn.Parameter], clip_type: str | None, clip_value: float, norm_type: float = 2.0
) -> Tensor:
    """Clip gradients in place and return their norm over all parameters before clipping.

    Args:
        parameters: those without a gradient are passed over.
        clip_type: "full_model" scales all gradients by one factor so that their joint norm is at most ``clip_value``;
            "norm" does so tensor by tensor; "value" cuts every element at +-``clip_value``; None only measures.
        clip_value: the bound.
        norm_type: p of the norm; the returned norm has it too.

    Raises:
        ValueError: an unknown ``clip_type``.
    """
    parameters = [p for p in parameters if p.grad is not None]
    if clip_type not in ("full_model", "norm", "value", None):
        raise ValueError(f'SOLVER.CLIP_GRADIENTS.CLIP_TYPE must be "full_model", "norm" or "value"; got {clip_type!r}.')
    bound = clip_value if clip_type == "full_model" else float("inf")
    norm = nn.utils.clip_grad_norm_(parameters, bound, norm_type)
    # A norm that is no number must not reach the weights; the caller sees it in what is returned.
    if clip_type == "norm":
        for parameter in parameters:
            nn.utils.clip_grad_norm_(parameter, clip_value, norm_type)
    elif clip_type == "value":
        nn.utils.clip_grad_value_(parameters, clip_value)
    return norm
