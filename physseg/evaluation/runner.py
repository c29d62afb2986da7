"""Several benchmarks in one process (or one process group), one model load, resumable at the next image.

A results folder holds, per benchmark key:

- ``KEY.json``: the finished result with its protocol; written once, atomically.
- ``KEY.images.jsonl``: what each image added, for comparing two checkpoints image by image.
- ``KEY.rankR.jsonl``: the same while the benchmark is under way, one file per process.
"""

import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from torch import Tensor

from physseg.data.checking import require_prepared
from physseg.data.custom import register_custom
from physseg.data.loaders import build_test_loader
from physseg.data.overrides import config_of_dataset
from physseg.data.specs import find_spec
from physseg.evaluation.evaluator import SegmentationEvaluator, build_evaluator
from physseg.evaluation.extra_metrics import extra_metrics
from physseg.evaluation.image_counts import ImageCounts, ImageLog
from physseg.evaluation.loop import STAGES, Timing, evaluate_dataset
from physseg.evaluation.protocol import (
    changed_entries,
    collect_protocol,
    fingerprint,
    parameters_hash,
    peak_memory,
)
from physseg.evaluation.seen_unseen import seen_unseen
from physseg.evaluation.tables import time_shares
from physseg.io import atomic_write, write_json_atomic

logger = logging.getLogger(__name__)


def run_benchmarks(
    model: Callable[[list[dict]], list[dict]],
    cfg,
    dataset_names: Sequence[str],
    results_dir: str | Path,
    *,
    encode: Callable[[Sequence[str]], Tensor] | None = None,
    build_loader: Callable[..., Iterable[list[dict]]] = build_test_loader,
    model_hash: str | None = None,
) -> list[dict]:
    """Evaluate a model on datasets one after the other, taking up what an interrupted run left.

    Work already in ``results_dir`` is used if its fingerprint (weights, config, vocabulary, images, code) is this
    run's; otherwise the benchmark starts over, and the log says what changed.

    Args:
        model: list of dicts -> list of dicts with ``labels`` or ``sem_seg``.
        cfg: the config the model was built from.
        dataset_names: registered names, in the order of the table.
        results_dir: see the module's text; made if missing.
        encode: names -> (T, E) text features, for the split into seen and unseen classes by similarity.
        build_loader: ``(cfg, dataset_name, batch_size, skip)`` -> batches; ``skip`` holds file names not to load.
        model_hash: identifies a model that is no ``nn.Module``.

    Returns:
        In every process, the content of the result files in order.

    Raises:
        NotPreparedError: a dataset is missing or incomplete; nothing is evaluated then.
    """
    results_dir = Path(results_dir)
    register_custom(cfg)
    # A data set that is not ready should not come to light after hours spent on the ones before it.
    for name in dataset_names:
        require_prepared(name, allow_partial=cfg.DATASETS.ALLOW_PARTIAL)
    weights = parameters_hash(model) or model_hash
    results = []
    whole = cfg
    for number, name in enumerate(dataset_names, start=1):
        key = benchmark_key(name)
        cfg = config_of_dataset(whole, name)
        evaluator = build_evaluator(cfg, name)
        prints = fingerprint(cfg, name, weights, len(evaluator.label_files))
        result = _finished(results_dir / f"{key}.json", prints)
        if result is None:
            logger.info("benchmark %d of %d: %s, %d images", number, len(dataset_names), name, prints["images"])
            _run_one(model, cfg, name, evaluator, prints, results_dir, encode, build_loader)
            comm.synchronize()
            result = json.loads((results_dir / f"{key}.json").read_text())
        else:
            logger.info("benchmark %d of %d: %s is done already", number, len(dataset_names), name)
        results.append(result)
        metrics = result["metrics"]
        times = ", ".join(f"{name} {share} %" for name, share in zip(STAGES, time_shares(result), strict=True))
        logger.info("%s: mIoU %.2f (old definition %.2f); %s", key, metrics["mIoU"], metrics["mIoU_old"], times)
    return results


def benchmark_key(dataset_name: str) -> str:
    """The spec's key ("a847"), or the registered name of a dataset without one."""
    spec = find_spec(dataset_name)
    return spec.key if spec else dataset_name


def _finished(path: Path, prints: dict) -> dict | None:
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        changed = changed_entries(result["fingerprint"], prints)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        logger.warning("%s is no result of an evaluation (%s): starting over", path, type(error).__name__)
        return None
    if changed:
        logger.warning("%s is of another run (%s changed): starting over", path, ", ".join(changed))
        return None
    return result


def _run_one(model, cfg, name, evaluator, prints, results_dir: Path, encode, build_loader) -> None:
    key = benchmark_key(name)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    logs = sorted(results_dir.glob(f"{key}.rank*.jsonl"))
    # Nothing identifies the weights of a bare callable, so what it left is never taken up.
    done = [entry for log in logs for entry in ImageLog(log, prints).read() or []] if prints["weights"] else []
    if logs and not done:
        logger.warning("%s: progress in %s is of another run or empty: starting over", name, results_dir)
    comm.synchronize()  # before any process appends
    if comm.is_main_process() and not done:
        for log in logs:
            log.unlink()
    evaluator.restore(done, counted_here=comm.is_main_process())
    if done:
        logger.info("%s: taking up after %d of %d images", name, len(evaluator.skip), prints["images"])
    comm.synchronize()

    log = ImageLog(results_dir / f"{key}.rank{comm.get_rank()}.jsonl", prints)
    timing = Timing()
    values = evaluate_dataset(
        model,
        build_loader(cfg, name, batch_size=cfg.TEST.BATCH_SIZE, skip=frozenset(evaluator.skip)),
        evaluator,
        on_batch=lambda inputs: [log.append(evaluator.images[x["file_name"]]) for x in inputs],
        timing=timing,
    )
    log.close()
    # On every image, whatever an interrupted run had counted.
    loader = partial(build_loader, cfg, name, batch_size=1, skip=frozenset())
    extra = extra_metrics(model, cfg, name, training_classes(cfg), loader)
    gathered = comm.gather(list(evaluator.images.values()))
    if comm.is_main_process():
        images = {entry.file_name: entry for share in reversed(gathered) for entry in share}
        _check_all_seen(name, evaluator, images)
        with atomic_write(results_dir / f"{key}.images.jsonl") as temporary:
            temporary.unlink()
            merged = ImageLog(temporary, prints)
            for file_name in sorted(images):
                merged.append(images[file_name])
            merged.close()
        values["sem_seg"].update(_without_nan(extra))
        record = _record(cfg, name, evaluator, values["sem_seg"], prints, timing, encode)
        write_json_atomic(results_dir / f"{key}.json", record)
        for path in results_dir.glob(f"{key}.rank*.jsonl"):
            path.unlink()


def _check_all_seen(name: str, evaluator: SegmentationEvaluator, images: dict[str, ImageCounts]) -> None:
    missing = evaluator.label_files.keys() - images.keys()
    if missing:
        raise RuntimeError(
            f"{name}: {len(missing)} of {len(evaluator.label_files)} images were not evaluated, {min(missing)} among "
            "them; the loader does not give every image"
        )


def _record(cfg, name, evaluator, values: dict, prints: dict, timing: Timing, encode) -> dict:
    spec, result = find_spec(name), evaluator.result
    metrics = {metric: value for metric, value in values.items() if not metric.startswith("IoU-")}
    record = {
        "key": benchmark_key(name),
        "title": spec.title if spec else name,
        "metrics": metrics,
        "classes": evaluator.class_names,
        "iou": _numbers(result.iou),
        "accuracy": _numbers(result.acc),
        "gt_pixels": result.gt_pixels.tolist(),
        "timing": {
            "images_per_second": timing.images / timing.total if timing.total else None,
            "images_timed": timing.images,
            "seconds": timing.total,
            "shares": timing.shares(),
        },
        "peak_memory": peak_memory(),
        "fingerprint": prints,
        "protocol": collect_protocol(cfg, name, prints["images"], prints["weights"]),
    }
    if evaluator.boundary_result is not None:
        record["boundary_iou"] = _numbers(evaluator.boundary_result)
    training = training_classes(cfg)
    if training:
        named = evaluator.class_names[: evaluator.fold_from]
        split = seen_unseen(result.iou[: len(named)], named, training, encode, cfg.TEST.SEEN_SIMILARITY)
        record["seen_unseen"] = {kind: _without_nan(values) for kind, values in split.items()}
    return record


def training_classes(cfg) -> list[str]:
    """Names of the classes of the training datasets, each once; empty if they are not registered."""
    names: dict[str, None] = {}
    for dataset in cfg.DATASETS.TRAIN:
        names.update(dict.fromkeys(MetadataCatalog.get(dataset).get("stuff_classes", [])))
    return list(names)


def _numbers(values) -> list[float | None]:
    return [None if math.isnan(value) else float(value) for value in values]


def _without_nan(values: dict) -> dict:
    # JSON has no NaN.
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}
