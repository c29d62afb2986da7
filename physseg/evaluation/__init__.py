"""Evaluation: confusion matrix, metrics, all benchmarks in one process, tables, pictures and a report.

Nothing here imports the model: it is a callable from Detectron2's list of dicts to a list of dicts.
"""

from physseg.evaluation.evaluator import SegmentationEvaluator, build_evaluator
from physseg.evaluation.loop import Timing, evaluate_dataset

__all__ = ["SegmentationEvaluator", "Timing", "build_evaluator", "evaluate_dataset"]
