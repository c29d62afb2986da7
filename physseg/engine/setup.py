"""Start of a run: logger, seeds, and the config as it was used, on disk."""

import argparse
import logging
import os

import torch
from detectron2.config import CfgNode
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from physseg.config import check_device, load_config
from physseg.data.custom import register_custom
from physseg.engine.resumed_config import warn_of_changes
from physseg.memory import keep_freed_memory

logger = logging.getLogger(__name__)


def config_from_args(args: argparse.Namespace) -> CfgNode:
    """Config of the command line's ``--config-file`` and overrides, frozen.

    Raises:
        FileNotFoundError, ValueError: as `load_config`.
    """
    cfg = load_config(args.config_file, args.opts)
    check_device(cfg.MODEL.DEVICE)
    cfg.freeze()
    return cfg


def set_up(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Set up a process: loggers, OUTPUT_DIR with config.yaml, seeds, precision and deterministic mode by key.

    Every process gets SEED plus its rank, so that their random numbers differ; the weights are those of the main
    process.
    """
    if cfg.MODEL.DEVICE == "cpu":
        keep_freed_memory()
    if cfg.MODEL.DEVICE.startswith("cuda"):
        torch.set_float32_matmul_precision(cfg.ENGINE.FLOAT32_MATMUL)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="physseg")
    if getattr(args, "resume", False) and comm.is_main_process():
        warn_of_changes(cfg)
    # Without the file's name: it would be opened, and a shipped config's name is no path. The config is logged whole.
    default_setup(cfg, argparse.Namespace(**vars(args) | {"config_file": ""}))
    if cfg.ENGINE.DETERMINISTIC:
        make_deterministic()  # after Detectron2, which sets CUDNN_BENCHMARK
    register_custom(cfg)
    if not cfg.MODEL.DEVICE.startswith("cuda") and comm.get_world_size() > 1:
        # As many computing threads as cores in all, not per process.
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // comm.get_local_size()))


def make_deterministic() -> None:
    """Let PyTorch use deterministic algorithms only; where it has none it warns and names the operation."""
    # cuBLAS reads it when it starts (PyTorch's notes on reproducibility).
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
