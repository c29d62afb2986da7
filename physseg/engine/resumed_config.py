"""What a resumed run does otherwise than the run it goes on from, said before it starts."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from physseg.config.yaml_files import read_yaml

logger = logging.getLogger(__name__)

_MOST = 12


def warn_of_changes(cfg: CfgNode) -> None:
    """Log which settings differ from those of ``config.yaml`` in OUTPUT_DIR, and what another seed means.

    Call it before this run's own config.yaml is written there. A file that cannot be read is no reason to stop: it is
    a record, and resuming needs the checkpoint alone.
    """
    path = Path(cfg.OUTPUT_DIR) / "config.yaml"
    if not path.is_file():
        return
    try:
        before = dict(_leaves(read_yaml(path)))
    except (OSError, ValueError) as error:
        logger.warning("--resume: the earlier run's settings cannot be compared: %s", error)
        return
    now = dict(_leaves(cfg))
    changed = [name for name in now if name in before and not _same(before[name], now[name])]
    if not changed:
        return
    shown = [f"{name} {before[name]!r} -> {now[name]!r}" for name in changed[:_MOST]]
    more = [f"and {len(changed) - _MOST} more"] if len(changed) > _MOST else []
    logger.warning("--resume with other settings than before; these hold from here on: %s.", ", ".join(shown + more))
    if "SEED" in changed:
        logger.warning(
            "--resume with another SEED: weights and optimizer go on, the order of the images and their augmentations "
            "are from here on those of SEED %d. The result is that of neither seed alone.",
            cfg.SEED,
        )


def _leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _same(a: Any, b: Any) -> bool:
    # YAML knows no tuples.
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b
