"""Training: trainer, optimizer groups, checkpoints, launch."""

from physseg.engine.run import evaluate
from physseg.engine.trainer import Trainer
from physseg.engine.weights import IncompatibleWeightsError, load_weights, read_checkpoint

__all__ = ["IncompatibleWeightsError", "Trainer", "evaluate", "load_weights", "read_checkpoint"]
