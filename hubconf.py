"""For torch.hub: every model of `physseg models` by name, dashes as underscores.

    predictor = torch.hub.load("PATH/TO/physseg", "catseg_vitb16", vocabulary=["cat", "dog"], source="local")

Detectron2 must be installed (docs/installation.md).
"""

import functools

from physseg.inference.models import MODELS, load

dependencies = ["torch", "torchvision", "detectron2", "open_clip", "timm", "huggingface_hub", "filelock", "safetensors"]

for _model in MODELS:
    _entry = functools.wraps(load, assigned=("__doc__",))(functools.partial(load, _model.name))
    globals()[_model.name.replace("-", "_")] = _entry
