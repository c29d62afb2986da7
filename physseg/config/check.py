"""A config held against the table of keys and their relations; everything that is wrong is told at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode

from physseg.config.keys import KEYS
from physseg.config.relations import RELATIONS
from physseg.config.rules import Rule, shown


def check_config(cfg: CfgNode) -> None:
    """Check every key that physseg reads, and how they fit together, however the config came about.

    Raises:
        ValueError: with one line per violation: the keys, what they may be, what they are.
    """
    problems, broken = [], set()
    for name, key in KEYS.items():
        try:
            value = value_of(cfg, name)
        except (KeyError, AttributeError):
            problems.append(f"{name} is missing: call physseg.add_physseg_config(cfg) before anything is merged.")
            broken.add(name)
            continue
        if not key.rule.allows(key.rule.fit(value)):
            problems.append(problem(name, key.rule, value))
            broken.add(name)
    raise_problems([*problems, *relation_problems(cfg, broken)])


def check_device(device: str) -> None:
    """Check that this machine has the device of MODEL.DEVICE.

    Raises:
        ValueError: it has not; the message says what there is.
    """
    kind, colon, index = device.partition(":")
    if (index.isdecimal() or not colon) and int(index or 0) < _count(kind):
        return
    here = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    reason = ""
    if kind == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda is not None
        reason = (
            " (PyTorch finds no GPU or no driver: see nvidia-smi)" if built else " (this PyTorch is built without CUDA)"
        )
    raise ValueError(
        f'MODEL.DEVICE is "{device}", which this machine does not have{reason}; it has {", ".join(here)}. '
        "Add MODEL.DEVICE cpu to the command, or set it in the config."
    )


def _count(kind: str) -> int:
    """Devices of a kind that this machine has."""
    if kind in ("cpu", "mps"):
        return int(kind == "cpu" or torch.backends.mps.is_available())
    module = getattr(torch, kind, None)
    # "nn" is in torch, too.
    return module.device_count() if hasattr(module, "device_count") and module.is_available() else 0


def problem(name: str, rule: Rule, value: Any, source: str = "") -> str:
    """The line that tells of a value that is not allowed."""
    value = rule.fit(value)
    hint = rule.hint(value)
    where = f"{source}: " if source else ""
    return f"{where}{name} must be {rule}; got {shown(value)}.{' ' + hint if hint else ''}"


def relation_problems(cfg: CfgNode, broken: Iterable[str], sources: Mapping[str, str] | None = None) -> list[str]:
    """Lines for all relations that do not hold, but for those of a key in ``broken``, told already."""
    lines, broken = [], set(broken)
    for relation in RELATIONS:
        if broken.isdisjoint(relation.keys):
            values = [value_of(cfg, key) for key in relation.keys]
            if not relation.holds(*values):
                got = ", ".join(f"{key} {shown(value)}" for key, value in zip(relation.keys, values, strict=True))
                lines.append(f"{relation.says}; got {got}.")
    return lines


def value_of(cfg: CfgNode, name: str) -> Any:
    """Value of a key by its full name."""
    node = cfg
    for part in name.split("."):
        node = node[part]
    return node


def raise_problems(problems: Sequence[str]) -> None:
    """Raise a ValueError of all lines, if there are any."""
    if len(problems) == 1:
        raise ValueError(problems[0])
    if problems:
        raise ValueError("\n- ".join([f"{len(problems)} mistakes in the config:", *problems]))
