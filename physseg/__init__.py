"""physseg: open-vocabulary semantic segmentation with physical structure and patch alignment losses.

Importing it registers the meta-architectures (`PhysSeg`, `ClipSegmenter`, those of physseg.modeling.without_masks), the
data sets, and the toy CLIP with their libraries.
"""

from physseg import compat  # noqa: F401  isort: skip  (before anything that imports detectron2)
from physseg.config import add_physseg_config, load_config
from physseg.data.registration import register_all
from physseg.inference.dense_clip import DenseClip, dense_clip_features
from physseg.inference.models import load
from physseg.inference.predictor import Predictor
from physseg.modeling.clip_segmenter import ClipSegmenter
from physseg.modeling.meta_arch import PhysSeg
from physseg.modeling.without_masks.pacl import PACL
from physseg.modeling.without_masks.segclip import SegCLIP
from physseg.modeling.without_masks.zeroseg import ZeroSeg

__version__ = "0.1.0"
__all__ = [
    "PACL",
    "ClipSegmenter",
    "DenseClip",
    "PhysSeg",
    "Predictor",
    "SegCLIP",
    "ZeroSeg",
    "add_physseg_config",
    "dense_clip_features",
    "load",
    "load_config",
    "register_all",
]

register_all()


def _keep_old_import_names() -> None:
    """`import physseg.predictor` and the like, from before physseg.inference, give the modules that are there now."""
    import importlib
    import sys

    moved = {"predictor": "predictor", "export": "export", "dense_clip": "dense_clip"}
    moved |= {"prediction_files": "files", "prediction_video": "video"}
    for old, new in moved.items():
        module = importlib.import_module(f"physseg.inference.{new}")
        sys.modules[f"{__name__}.{old}"] = globals()[old] = module


_keep_old_import_names()
