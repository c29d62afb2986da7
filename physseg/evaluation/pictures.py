"""Pictures of predictions: image, ground truth, prediction over annotated and over all classes, errors, legend.

Pictures are made after a benchmark is evaluated, from a second forward pass over the few images chosen, at picture
size: the model gives probabilities at the height and width it is asked for, so memory stays small for 847 classes.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.evaluation import inference_context
from detectron2.utils import comm
from PIL import Image

from physseg.data.images import read_image, read_label_map
from physseg.data.loaders import build_test_loader
from physseg.evaluation.evaluator import SegmentationEvaluator, build_evaluator
from physseg.evaluation.image_counts import ImageCounts, ImageLog
from physseg.evaluation.runner import benchmark_key
from physseg.io import atomic_write, save_image, write_json_atomic
from physseg.visualization import overlay, palette, present_classes

PANELS = {
    "image": "image",
    "truth": "ground truth",
    "annotated": "prediction, annotated classes only",
    "all": "prediction, all classes",
    "errors": "errors",
}
"""Panel file names and their titles, left to right."""

RIGHT, WRONG, IGNORED = (215, 235, 215), (200, 30, 40), (255, 255, 255)


def choose_evenly(names: Sequence[str], count: int) -> list[str]:
    """Pick ``count`` names spread over the sorted list, always the same ones."""
    names = sorted(names)
    return [names[round(i)] for i in np.linspace(0, len(names) - 1, min(count, len(names)))]


def read_image_counts(results_dir: str | Path, key: str) -> dict[str, ImageCounts]:
    """The per-image counts a finished benchmark left, by file name.

    Raises:
        FileNotFoundError: the benchmark is not finished in that folder.
    """
    path = Path(results_dir) / f"{key}.images.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"no {path}: evaluate {key} into that folder first")
    with open(path, encoding="utf-8") as file:
        header = json.loads(file.readline())
    return {counts.file_name: counts for counts in ImageLog(path, header).read()}


def most_different(first: Mapping[str, ImageCounts], second: Mapping[str, ImageCounts], count: int) -> list[str]:
    """Images on which two models' per-image mIoU differ most, the largest difference first."""
    gaps = {name: abs(first[name].miou() - second[name].miou()) for name in first.keys() & second.keys()}
    gaps = {name: gap for name, gap in gaps.items() if not np.isnan(gap)}
    return sorted(gaps, key=lambda name: (-gaps[name], name))[:count]


def save_pictures(
    model: Callable[[list[dict]], list[dict]],
    cfg,
    dataset_name: str,
    file_names: Sequence[str],
    results_dir: str | Path,
    *,
    side: int = 384,
    build_loader: Callable[..., Iterable[list[dict]]] = build_test_loader,
) -> Path:
    """Predict the images again and write their panels to ``results_dir/KEY.pictures/``.

    ``pictures.json`` there lists, in the order given, each image's panel files and legend. Every process calls this
    and draws its share.

    Args:
        file_names: images of the dataset, in the order to show them.
        side: longer side of a panel in pixels; smaller images keep their size.
        build_loader: as in `runner.run_benchmarks`.

    Returns:
        The path of ``pictures.json``.
    """
    evaluator = build_evaluator(cfg, dataset_name)
    folder = Path(results_dir) / f"{benchmark_key(dataset_name)}.pictures"
    chosen = set(file_names)
    entries = {}
    with torch.no_grad(), _eval_mode(model):
        for inputs in build_loader(cfg, dataset_name, skip=frozenset(evaluator.label_files.keys() - chosen)):
            for x in inputs:
                height, width = _picture_size(x["height"], x["width"], side)
                request = {k: v for k, v in x.items() if k != "output"} | {"height": height, "width": width}
                scores = model([request])[0]["sem_seg"]
                panels, legend = render_panels(evaluator, x["file_name"], scores, (height, width))
                stem = Path(x["file_name"]).stem
                entries[x["file_name"]] = {"name": stem, "legend": legend, "panels": _write(folder, stem, panels)}
    shares = comm.gather(entries)
    if comm.is_main_process():
        entries = {name: entry for share in shares for name, entry in share.items()}
        write_json_atomic(folder / "pictures.json", [entries[name] for name in file_names if name in entries])
    comm.synchronize()
    return folder / "pictures.json"


def render_panels(
    evaluator: SegmentationEvaluator, file_name: str, scores: torch.Tensor, size: tuple[int, int]
) -> tuple[dict[str, np.ndarray], list[dict]]:
    """Draw all `PANELS` of one image.

    Args:
        evaluator: of the image's dataset.
        file_name: the image.
        scores: (T, h, w) with (h, w) = ``size``.
        size: of the panels.

    Returns:
        Panels by name, uint8 (h, w, 3), and the legend: ``{"name", "colour", "in": [panel names]}`` per class.
    """
    height, width = size
    names, ignore = evaluator.class_names, evaluator.ignore_label
    image = np.array(Image.fromarray(read_image(file_name)).resize((width, height), Image.BILINEAR))
    truth = read_label_map(evaluator.label_files[file_name])
    truth = np.array(Image.fromarray(truth).resize((width, height), Image.NEAREST))
    everything = evaluator.labels_of({"sem_seg": scores}).cpu().numpy()
    annotated = _restricted_to(scores, present_classes(truth, len(names)), evaluator)
    labelled = truth != ignore
    # Figure 5 of the paper shows what the annotation covers and nothing else.
    maps = {"truth": truth, "annotated": np.where(labelled, annotated, ignore), "all": everything}

    # White contours would hide a prediction that is mostly specks.
    def drawn(labels: np.ndarray) -> np.ndarray:
        return overlay(image, labels, names, alpha=0.8, contours=labels is truth, show_legend=False)

    panels = {
        "image": image,
        **{name: drawn(labels) for name, labels in maps.items()},
        "errors": _errors(everything, truth, labelled),
    }
    present = {panel: present_classes(labels, len(names)) for panel, labels in maps.items()}
    order = list(dict.fromkeys(index for panel in maps for index in present[panel]))
    colours = palette(len(names))
    legend = [
        {
            "name": names[index].split(",")[0].strip(),
            "colour": "#{:02x}{:02x}{:02x}".format(*colours[index].tolist()),
            "in": [panel for panel in maps if index in present[panel]],
        }
        for index in order
    ]
    return panels, legend


def _restricted_to(scores: torch.Tensor, classes: list[int], evaluator: SegmentationEvaluator) -> np.ndarray:
    """The likeliest of the given evaluated classes at every pixel; a folded class has all its prompts."""
    fold = evaluator.fold_from
    prompts = [p for p in range(len(scores)) if (p if fold is None else min(p, fold)) in set(classes)]
    if not prompts:
        return np.full(scores.shape[1:], evaluator.ignore_label)
    best = torch.tensor(prompts)[scores[prompts].argmax(dim=0).cpu()]
    return (best if fold is None else best.clamp(max=fold)).numpy()


def _errors(prediction: np.ndarray, truth: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    picture = np.empty((*truth.shape, 3), np.uint8)
    picture[...] = IGNORED
    picture[labelled] = RIGHT
    picture[labelled & (prediction != truth)] = WRONG
    return picture


def _picture_size(height: int, width: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _write(folder: Path, stem: str, panels: dict[str, np.ndarray]) -> dict[str, str]:
    files = {}
    for name, panel in panels.items():
        # Photographs as JPEG; flat colours stay sharp, and small, as PNG.
        files[name] = f"{stem}.{name}.{'jpg' if name == 'image' else 'png'}"
        with atomic_write(folder / files[name]) as temporary:
            save_image(Image.fromarray(panel), temporary, quality=90)
    return files


def _eval_mode(model) -> contextlib.AbstractContextManager:
    return inference_context(model) if isinstance(model, torch.nn.Module) else contextlib.nullcontext()
