"""Models by name: one table, and what a name stands for.

``physseg://NAME`` is a path of weights wherever one is taken: MODEL.WEIGHTS, --weights, `Predictor`.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler
from torch import Tensor

from physseg.engine.weights import read_checkpoint
from physseg.inference.hub import HubFile, fetch_weights
from physseg.inference.predictor import Predictor
from physseg.modeling.catseg.checkpoint import from_catseg, is_catseg

PREFIX = "physseg://"
DEFAULT = "catseg-vitb16"
_TOY_WEIGHTS = Path(__file__).parents[1] / "toy_world" / "physseg-toy-segmenter.safetensors"
BENCHMARKS = ("A-847", "PC-459", "A-150", "PC-59", "PAS-20", "PAS-20b")


@dataclass(frozen=True)
class NamedModel:
    """A row of the table.

    config: name of a shipped config. source: the published file; or one that comes with physseg; or None where CLIP's
    weights, which the config names, are all there is. code, weights: licences, as far as their publishers state them.
    miou: as published, on `BENCHMARKS`; empty where nothing is. note: what else a user should know.
    """

    name: str
    config: str
    source: HubFile | Path | None
    design: str
    code: str
    weights: str
    miou: tuple[float, ...] = ()
    note: str = ""

    @property
    def path(self) -> str:
        """For MODEL.WEIGHTS."""
        return PREFIX + self.name if self.source else ""

    def fetch(self) -> Path:
        """Local file of the weights, fetched and converted where needed.

        Raises:
            ConnectionError, DamagedFileError, OSError: as `fetch_weights`.
        """
        if isinstance(self.source, Path):
            return self.source
        return fetch_weights(self.name, self.source, _read_published, _ADVICE)


_ADVICE = "A checkpoint of your own goes by --weights; --model toy comes with physseg and needs no network."
_CATSEG_CODE = "LICENSE of KU-CVLAB/CAT-Seg"


def _catseg(name: str, file: str, *miou: float) -> NamedModel:
    """CAT-Seg's CVPR 2024 design; its config has the model's name."""
    source = HubFile("hamacojr/CAT-Seg-weights", file, "space")
    return NamedModel(name, name.replace("-", "_"), source, "CAT-Seg, CVPR 2024", _CATSEG_CODE, "not stated", miou)


def _catseg_2023(name: str, file: str, *miou: float) -> NamedModel:
    """CAT-Seg's first design, the paper's baseline; slower and with a backbone beside CLIP."""
    source = HubFile("hamacojr/CAT-Seg", file)
    return NamedModel(name, name.replace("-", "_"), source, "CAT-Seg, 2023", _CATSEG_CODE, "not stated", miou)


def _clip_alone(name: str, config: str, design: str, code: str, weights: str = "MIT (openai/CLIP)") -> NamedModel:
    """CLIP's weights and nothing else (docs/clip_alone.md): ``code`` is the publication's, ours is written anew."""
    return NamedModel(
        name, f"clip_alone/{config}", None, f"{design}, no training", code, weights, note="CLIP's weights by open_clip"
    )


MODELS: tuple[NamedModel, ...] = (
    _catseg("catseg-vitb16", "model_base.pth", 12.0, 19.0, 31.8, 57.5, 94.6, 77.3),
    _catseg("catseg-vitl14", "model_large.pth", 16.0, 23.8, 37.9, 63.3, 97.0, 82.5),
    _catseg_2023("catseg-2023-vitb16-r101", "model_final_base.pth", 8.9, 16.6, 27.2, 57.5, 93.7, 78.3),
    _catseg_2023("catseg-2023-vitl14-swinb", "model_final_large.pth", 11.4, 20.4, 31.5, 62.0, 96.6, 81.8),
    _catseg_2023("catseg-2023-vith14-swinb", "model_final_huge.pth", 13.1, 20.1, 34.4, 61.2, 96.7, 80.2),
    _catseg_2023("catseg-2023-vitg14-swinb", "model_final_giant.pth", 14.1, 21.4, 36.2, 61.5, 97.1, 81.4),
    *(
        _clip_alone(name, config, design, code)
        for name, config, design, code in (
            ("maskclip-vitb16", "maskclip_vitb16", "MaskCLIP", "Apache-2.0"),
            ("sclip-vitb16", "sclip_vitb16", "SCLIP", "none stated"),
            ("clearclip-vitb16", "clearclip_vitb16", "ClearCLIP", "non-commercial"),
            ("naclip-vitb16", "naclip_vitb16", "NACLIP", "MIT"),
            ("naclip-pamr-vitb16", "naclip_pamr_vitb16", "NACLIP and PAMR", "MIT, Apache-2.0"),
            ("naclip-vitl14", "naclip_vitl14", "NACLIP", "MIT"),
            ("sc-clip-vitb16", "sc_clip_vitb16", "SC-CLIP", "none stated"),
            ("sc-clip-vitl14", "sc_clip_vitl14", "SC-CLIP", "none stated"),
            ("sfp-vitb16", "sfp_vitb16", "SFP", "MIT"),
            ("proxyclip-vitb16", "proxyclip_vitb16", "ProxyCLIP, DINO B/8", "non-commercial"),
        )
    ),
    _clip_alone("sc-clip-metaclip-vitb16", "sc_clip_metaclip_vitb16", "SC-CLIP", "none stated", "CC-BY-NC"),
    _clip_alone("pe-core-b16", "pe_core_b16", "values of the pool", "-", "Apache-2.0"),
    _clip_alone("siglip2-b16", "siglip2_b16", "values of the pool", "-", "Apache-2.0"),
    NamedModel(
        name="clip-alone-toy",
        config="clip_alone/toy",
        source=None,
        design="SC-CLIP on the toy CLIP",
        code="Apache-2.0",
        weights="Apache-2.0",
        note="knows the toy world's words alone",
    ),
    NamedModel(
        name="toy",
        config="catseg_toy",  # what the losses add is for training alone
        source=_TOY_WEIGHTS,
        design="physseg, full method",
        code="Apache-2.0",
        weights="Apache-2.0",
        note="knows the toy world's words alone",
    ),
)


def find_model(name: str) -> NamedModel:
    """The row of a name; "catseg_vitb16" and "physseg://catseg-vitb16" will do, too.

    Raises:
        ValueError: no such model; names near misses.
    """
    wanted = name.removeprefix(PREFIX).lower().replace("_", "-")
    for model in MODELS:
        if model.name == wanted:
            return model
    names = [model.name for model in MODELS]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    advice = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
    raise ValueError(f"no model is named {name!r}; {advice}")


def load(
    name: str = DEFAULT,
    vocabulary: str | PathLike | Sequence[str] | None = None,
    device: str | None = None,
    opts: Sequence[object] = (),
    precision: str | None = None,
) -> Predictor:
    """A model by name, ready to segment; its weights are fetched on first use and kept (docs/checkpoints.md).

    Example::

        predictor = physseg.load("catseg-vitb16", ["cat", "dog", "grass"])
        labels = predictor.labels(image)

    Args:
        name: a name of `MODELS`; "toy" comes with physseg and needs no network.
        vocabulary, opts, precision: as `Predictor`.
        device: MODEL.DEVICE, such as "cuda:1"; None: a GPU if there is one.

    Raises:
        ValueError: no such model, or as `Predictor`.
        ConnectionError, OSError: the weights cannot be had; says which file to put where.
    """
    model = find_model(name)
    placed = ("MODEL.DEVICE", device) if device else ()
    return Predictor(model.config, model.path or None, vocabulary, (*placed, *opts), precision)


def _read_published(path: Path) -> dict[str, Tensor]:
    """A published checkpoint with physseg's names."""
    weights = read_checkpoint(path)["model"]
    return from_catseg(weights).state_dict if is_catseg(weights) else weights


class _NamedModelHandler(PathHandler):
    """Lets Detectron2's PathManager open ``physseg://NAME``."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: object) -> str:
        return str(find_model(path).fetch())

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: object):
        return open(self._get_local_path(path), mode, buffering)


PathManager.register_handler(_NamedModelHandler())
