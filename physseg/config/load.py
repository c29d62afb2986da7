"""Config files and overrides -> a checked config."""

import logging
import os
from collections.abc import Collection, Sequence
from copy import deepcopy

from detectron2.config import CfgNode, get_cfg

from physseg.config.check import raise_problems, relation_problems, value_of
from physseg.config.keys import KEYS
from physseg.config.merge import Merge, read_pairs
from physseg.config.names import is_own_model
from physseg.config.yaml_files import read_config_chain

logger = logging.getLogger(__name__)

# Read by a backbone of Detectron2's registry, by its own rules.
_BACKBONE = ("MODEL.BACKBONE.", "MODEL.RESNETS.", "MODEL.FPN.")


def load_config(
    config_file: str | os.PathLike | None, opts: Sequence[object] = (), output_dir: str | os.PathLike | None = None
) -> CfgNode:
    """Detectron2's and physseg's defaults, then ``config_file`` with its ``_BASE_`` files, then ``opts``.

    Args:
        config_file: a YAML file; empty or None for the defaults alone.
        opts: overrides in pairs, ``("SOLVER.BASE_LR", 1e-4, ...)``; values may be strings, as from a shell.
        output_dir: OUTPUT_DIR, if given; wins over file and ``opts``.

    Returns:
        The config, not frozen.

    Raises:
        FileNotFoundError: a config file is missing.
        ValueError: YAML that is not plain data; or, all in one message, each unknown key, each value that its key does
            not allow, and each relation between keys that does not hold.
    """
    cfg = get_cfg()
    add_physseg_config(cfg)
    merge = Merge(cfg)
    for path, content in read_config_chain(config_file) if config_file else []:
        merge.mapping(content, str(path))
    merge.pairs(read_pairs(opts), "command-line overrides")
    if output_dir is not None:
        merge.pairs([("OUTPUT_DIR", os.fspath(output_dir))], "output_dir")
    raise_problems([*merge.problems, *relation_problems(cfg, merge.broken)])
    _take_statistics(cfg, merge.sources)
    _warn_of_unread(cfg, merge.sources)
    return cfg


def add_physseg_config(cfg: CfgNode) -> None:
    """Add physseg's keys and the recipe's defaults to a Detectron2 config, in place.

    Keys that Detectron2 has already keep their meaning.
    """
    for name, key in KEYS.items():
        *sections, leaf = name.split(".")
        node = cfg
        for section in sections:
            if section not in node:
                node[section] = CfgNode()
            node = node[section]
        node[leaf] = deepcopy(key.default)


def _take_statistics(cfg: CfgNode, sources: Collection[str]) -> None:
    """Mean and deviation that nothing sets are those of CLIP's weights; the table's defaults are OpenAI's."""
    from physseg.modeling.clip.statistics import image_statistics

    statistics = image_statistics(cfg.MODEL.CLIP.NAME, cfg.MODEL.CLIP.PRETRAINED)
    for name, values in zip(("PIXEL_MEAN", "PIXEL_STD"), statistics, strict=True):
        if f"MODEL.{name}" not in sources:
            cfg.MODEL[name] = list(values)


def _warn_of_unread(cfg: CfgNode, sources: dict[str, str]) -> None:
    """Say which keys were set that only other projects read. A model or backbone of one's own may read any."""
    if not is_own_model(cfg.MODEL.META_ARCHITECTURE):
        return
    prefixes = _BACKBONE if cfg.MODEL.GUIDANCE == "backbone" else ()
    defaults = get_cfg()
    unread = [
        name
        for name in sources
        if name not in KEYS and not name.startswith(prefixes) and value_of(cfg, name) != value_of(defaults, name)
    ]
    if unread:
        logger.warning("Set, but read by nothing in physseg: %s.", ", ".join(unread))
