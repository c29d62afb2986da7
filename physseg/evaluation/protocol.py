"""What a number depends on, recorded beside it."""

import datetime
import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import detectron2
import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm

from physseg.data.specs import find_spec

try:
    import resource
except ImportError:  # Windows has no such module; peak memory is then not recorded.
    resource = None

# Models that no label map has taught: the softmax over words, its scale and the background rules make their numbers.
WITHOUT_MASKS = ("ClipSegmenter", "PACL", "SegCLIP", "ZeroSeg")
# Keys that change where and when something runs, or training alone; none of them changes a result.
_IRRELEVANT = (
    *("MODEL.WEIGHTS", "MODEL.DEVICE", "MODEL.LOSS", "MODEL.PATCH_ALIGNMENT", "MODEL.STRUCTURE"),
    *("TEST.EVAL_PERIOD", "TEST.BEST_METRIC", "TEST.SEEN_SIMILARITY", "MODEL.AGGREGATION.CLASS_CHUNK"),
)


def fingerprint(cfg, dataset_name: str, parameters_sha256: str | None, num_images: int) -> dict:
    """Everything that decides a benchmark's result: two runs with equal fingerprints may share their work.

    Args:
        cfg: the whole config.
        dataset_name: a registered name.
        parameters_sha256: `parameters_hash` of the model; None never equals another run's.
        num_images: images in the dataset as it lies on disk.
    """
    relevant = {"MODEL": _plain(cfg.MODEL), "TEST": _plain(cfg.TEST), "INPUT": _plain(cfg.INPUT)}
    for key in _IRRELEVANT:
        _drop(relevant, key.split("."))
    meta = MetadataCatalog.get(dataset_name)
    return {
        "weights": parameters_sha256,
        "config": _digest(relevant),
        "vocabulary": _digest(list(meta.get("vocabulary", meta.stuff_classes))),
        "images": num_images,
        "code": git_commit(),
    }


def changed_entries(old: Mapping, new: Mapping) -> list[str]:
    """Names of the fingerprint entries that differ, or are unknown (None) in either."""
    return [key for key in new if old.get(key) != new[key] or (key == "weights" and new[key] is None)]


def collect_protocol(cfg, dataset_name: str, num_images: int, parameters_sha256: str | None) -> dict:
    """Return the record that goes into every result file: JSON values only."""
    meta, spec = MetadataCatalog.get(dataset_name), find_spec(dataset_name)
    weights = Path(cfg.MODEL.WEIGHTS) if cfg.MODEL.WEIGHTS else None
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "weights": cfg.MODEL.WEIGHTS,
        "weights_sha256": file_hash(weights) if weights is not None and weights.is_file() else None,
        "parameters_sha256": parameters_sha256,
        "clip": {"name": cfg.MODEL.CLIP.NAME, "pretrained": cfg.MODEL.CLIP.PRETRAINED},
        "design": catseg_design(cfg),
        "inference": inference_mode(cfg),
        **training_free(cfg, list(meta.get("vocabulary", meta.stuff_classes))),
        "templates": list(cfg.MODEL.TEXT.TEMPLATES),
        "synonyms": cfg.MODEL.TEXT.SYNONYMS,
        "dataset": {
            "name": dataset_name,
            "images": num_images,
            "expected_images": spec.num_images if spec else None,
            "classes": len(meta.stuff_classes),
            "prompts": len(meta.get("vocabulary", meta.stuff_classes)),
            "ignore_label": meta.ignore_label,
        },
        "seed": cfg.SEED,
        "processes": comm.get_world_size(),
        "device": device_name(cfg.MODEL.DEVICE),
        "versions": {
            "detectron2": detectron2.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "git_commit": git_commit(),
        "command": sys.argv,
        "config": cfg.dump(),
    }


def catseg_design(cfg) -> str:
    """The design of CAT-Seg that the model is or builds on: "CVPR'24", "2023" (by its guidance), or "other"."""
    if cfg.MODEL.META_ARCHITECTURE != "PhysSeg":
        return "other"
    return "2023" if cfg.MODEL.GUIDANCE == "backbone" else "CVPR'24"


def inference_mode(cfg) -> str:
    """One line on how images reach the model."""
    short = f"short side {cfg.INPUT.MIN_SIZE_TEST}, at most {cfg.INPUT.MAX_SIZE_TEST}"
    pooling = "x".join(map(str, cfg.TEST.POOLING))
    if cfg.MODEL.META_ARCHITECTURE in WITHOUT_MASKS:
        if not cfg.TEST.SLIDING_WINDOW:
            return f"whole image ({short})"
        return f"window {cfg.TEST.WINDOW_SIZE}, stride {cfg.TEST.WINDOW_STRIDE} ({short})"
    if not cfg.TEST.SLIDING_WINDOW:
        return f"whole image ({short}), class pooling {pooling}"
    canvas = f"{'keeping aspect' if cfg.TEST.KEEP_ASPECT else 'square'} {cfg.TEST.WINDOW_CANVAS}"
    window = f"window {cfg.TEST.WINDOW_SIZE}, stride {cfg.TEST.WINDOW_STRIDE}, canvas {canvas}"
    return f"sliding window and whole image ({window}; {short}), class pooling {pooling}"


def training_free(cfg, names: list[str]) -> dict:
    """What that literature's numbers depend on and tables must state beside them; {} for a model of label maps."""
    if cfg.MODEL.META_ARCHITECTURE not in WITHOUT_MASKS:
        return {}
    if cfg.MODEL.META_ARCHITECTURE in ("SegCLIP", "ZeroSeg"):
        return {"training_free": _of_groups(cfg, names)}
    dense = cfg.MODEL.DENSE
    values = {
        "method": dense.METHOD if cfg.MODEL.META_ARCHITECTURE == "ClipSegmenter" else cfg.MODEL.META_ARCHITECTURE,
        "scale": dense.SCALE,
        "background_threshold": cfg.TEST.BACKGROUND_THRESHOLD,
        "area_threshold": cfg.TEST.AREA_THRESHOLD,
        "background_entropy": cfg.TEST.BACKGROUND_ENTROPY,
        "pamr_steps": dense.PAMR_STEPS,
        "names": names,
    }
    if dense.METHOD == "proxyclip":
        values["proxy"] = f"{dense.PROXY.NAME}.{dense.PROXY.PRETRAINED or 'random'}"
    return {"training_free": values}


def _of_groups(cfg, names: list[str]) -> dict:
    return {
        "method": cfg.MODEL.META_ARCHITECTURE,
        # 0: learnt.
        "scale": cfg.MODEL.ZEROSEG.SCALE if cfg.MODEL.META_ARCHITECTURE == "ZeroSeg" else 0.0,
        "background_threshold": cfg.MODEL.GROUPS.BACKGROUND_THRESHOLD or cfg.TEST.BACKGROUND_THRESHOLD,
        "area_threshold": 0.0,
        "pamr_steps": 0,
        "top_classes": cfg.MODEL.GROUPS.TOP_CLASSES,
        "names": names,
    }


def parameters_hash(model) -> str | None:
    """SHA-256 over names, types, shapes and bytes of a module's state, in name order; None for a plain callable."""
    if not isinstance(model, torch.nn.Module):
        return None
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def git_commit() -> str | None:
    """Commit of the sources this package runs from, with "+" if files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    try:
        commit, status = (
            subprocess.run(["git", "-C", str(root), *c], capture_output=True, text=True, timeout=10, check=True).stdout
            for c in commands
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("+" if status.strip() else "")


def device_name(device: str) -> str:
    """The GPU's name, or the processor's kind and the number of threads."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(torch.device(device))
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def peak_memory() -> dict[str, float | None]:
    """Largest memory of this process so far, in MiB: resident, and CUDA's since its last reset."""
    # Linux counts ru_maxrss in KiB, macOS in bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {
        "host_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1) if resource else None,
        "cuda_mib": round(torch.cuda.max_memory_allocated() / 2**20, 1) if torch.cuda.is_available() else None,
    }


def _plain(node) -> dict:
    return {key: _plain(value) if isinstance(value, dict) else value for key, value in node.items()}


def _drop(tree: dict, keys: list[str]) -> None:
    for key in keys[:-1]:
        tree = tree.get(key, {})
    tree.pop(keys[-1], None)


def _digest(value) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()
