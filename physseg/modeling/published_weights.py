"""What the converters of published weights share: their error, their result, and what does not fit, in words."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from torch import Tensor


class PublishedWeightsError(ValueError):
    """Weights that cannot be converted. The message lists the keys by group and the config that would fit."""


class Conversion(NamedTuple):
    """state_dict: the converted weights. design: which of the published ones, "CVPR'24" or "2023". config: the shipped
    config they belong to, or None. notes: for the user. system: whose design it is.
    """

    state_dict: dict[str, Tensor]
    design: str
    config: str | None
    notes: list[str]
    system: str = "CAT-Seg"


def misfits(
    state_dict: Mapping[str, Tensor], expected: Mapping[str, tuple], rename: Callable[[str], str] = str
) -> list[str]:
    """Lines on names that are missing, unexpected, or of another shape; none where everything fits.

    Args:
        expected: name -> shape.
        rename: what messages call a name.
    """
    missing = [rename(name) for name in expected if name not in state_dict]
    unexpected = [rename(name) for name in state_dict if name not in expected]
    misshapen = [
        f"    {rename(name)}: {tuple(state_dict[name].shape)}, expected {shape}"
        for name, shape in expected.items()
        if name in state_dict and tuple(state_dict[name].shape) != shape
    ]
    lines = [f"  missing ({len(missing)}): {group_names(missing)}"] if missing else []
    lines += [f"  unexpected ({len(unexpected)}): {group_names(unexpected)}"] if unexpected else []
    if misshapen:
        more = [f"    ... and {len(misshapen) - 12} more"] if len(misshapen) > 12 else []
        lines += [f"  other shape ({len(misshapen)}):", *misshapen[:12], *more]
    return lines


def group_names(names: Iterable[str], most: int = 12) -> str:
    """Names by module, numbers taken together: "a.blocks.*.norm (24), b.bias"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        module = ".".join("*" if part.isdigit() else part for part in name.split(".")[:-1])
        groups.setdefault(module, []).append(name)
    shown = [members[0] if len(members) == 1 else f"{key}.* ({len(members)})" for key, members in groups.items()]
    return ", ".join(shown[:most] + ([f"... and {len(shown) - most} more groups"] if len(shown) > most else []))


def check_tensors(state_dict: Mapping[str, Tensor], error: type[PublishedWeightsError]) -> None:
    """Raise ``error`` where a value is no tensor."""
    no_tensor = [name for name, value in state_dict.items() if not isinstance(value, Tensor)]
    if no_tensor:
        raise error(f"expected names and tensors; these hold something else: {group_names(no_tensor)}")
