"""Which model a command line means."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from physseg.config import load_config
from physseg.engine.weights import read_checkpoint
from physseg.inference.models import DEFAULT, PREFIX, find_model
from physseg.modeling.catseg.checkpoint import from_catseg, is_catseg

# The meta-architecture that CLIP's weights alone do not make a segmenter of.
_NEEDS_WEIGHTS = "PhysSeg"


class ChosenModel(NamedTuple):
    """What `Predictor` needs: config_file, and weights, "" where the config names CLIP's alone. title: for people."""

    config_file: str | PathLike
    weights: str
    title: str


def choose_model(
    name: str | None = None,
    config_file: str | PathLike | None = None,
    weights: str | PathLike | None = None,
    opts: Sequence[object] = (),
) -> ChosenModel:
    """The model that a command line means by --model, --config-file and --weights; none of them: the default one.

    Args:
        opts: config overrides that may hold MODEL.WEIGHTS.

    Raises:
        ValueError: name and config both, no weights, or weights that do not tell their config.
    """
    if name and config_file:
        raise ValueError(f"--model {name} brings its own config: give either --model or --config-file")
    if name or not (config_file or weights):
        model = find_model(name or DEFAULT)
        return ChosenModel(
            model.config, str(weights or model.path), f"{model.name}, {weights}" if weights else model.name
        )
    if not config_file:
        config_file = config_of_weights(weights)
    elif not weights:
        cfg = load_config(config_file, opts)
        weights = cfg.MODEL.WEIGHTS
        if not weights and cfg.MODEL.META_ARCHITECTURE == _NEEDS_WEIGHTS:
            raise ValueError("no weights: give a checkpoint by --weights, or MODEL.WEIGHTS in the config")
    return ChosenModel(config_file, str(weights), ", ".join(filter(None, (str(config_file), str(weights)))))


def config_of_weights(weights: str | PathLike) -> str | Path:
    """The config that a checkpoint belongs to: the shipped one of a published file, or what training left beside it.

    Raises:
        ValueError: there is none.
        FileNotFoundError: no such checkpoint.
    """
    if str(weights).startswith(PREFIX):
        return find_model(str(weights)).config
    state_dict = read_checkpoint(weights)["model"]
    if is_catseg(state_dict) and (config := from_catseg(state_dict).config):
        return config
    beside = Path(weights).expanduser().with_name("config.yaml")
    if beside.is_file():
        return beside
    raise ValueError(
        f"{weights} does not say which model it is of: it is no published checkpoint, and there is no config.yaml "
        "beside it, as training leaves one; give --config-file"
    )
