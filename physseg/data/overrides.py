"""Keys whose value depends on the data set: TEST.OVERRIDES.

The literature of training-free methods states window, short side and thresholds per benchmark.
"""

from detectron2.config import CfgNode

from physseg.data.specs import find_spec


def config_of_dataset(cfg: CfgNode, dataset_name: str) -> CfgNode:
    """The config with the overrides of one data set applied; ``cfg`` itself where there are none.

    Args:
        dataset_name: registered name.
    """
    chosen = [(key, value) for name, key, value in cfg.TEST.OVERRIDES if _registered(name) == dataset_name]
    if not chosen:
        return cfg
    frozen, cfg = cfg.is_frozen(), cfg.clone()
    cfg.defrost()
    for name, value in chosen:
        *sections, leaf = name.split(".")
        node = cfg
        for section in sections:
            node = node[section]
        node[leaf] = value
    if frozen:
        cfg.freeze()
    return cfg


def overridden_datasets(cfg: CfgNode) -> list[str]:
    """Registered names of the data sets that TEST.OVERRIDES names, each once."""
    return list(dict.fromkeys(_registered(name) for name, _, _ in cfg.TEST.OVERRIDES))


def _registered(name: str) -> str:
    spec = find_spec(name)
    return spec.registered_name if spec else name
