#!/usr/bin/env python
"""Compare the baseline with reference numbers of the published implementation, array by array.

    python benchmarks/parity.py --golden FOLDER

FOLDER holds what docs/parity.md describes: outputs of the published ViT-B/16 model for weights that are a function of
their names. Prints the largest absolute difference of each array, the loss, and the worst gradient norm.
"""

import argparse
import json
import sys
from pathlib import Path

import physseg  # first: it prepares Detectron2

# isort: split
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reference"))
import golden

from physseg.modeling.catseg.names import to_catseg, to_physseg

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "catseg_vitb16.yaml"
HEIGHT, WIDTH = 480, 640


def build_model(sliding: bool) -> physseg.PhysSeg:
    """The baseline with the reference weights."""
    overrides = ["MODEL.CLIP.PRETRAINED", "", "MODEL.TEXT.VOCABULARY", "pas20", "TEST.SLIDING_WINDOW", sliding]
    cfg = physseg.load_config(CONFIG, [*overrides, "MODEL.DEVICE", "cpu"])
    model = physseg.PhysSeg(cfg)
    model.vocabulary = tuple(golden.VOC20)
    published, _ = to_catseg(model.state_dict())
    weights, _ = to_physseg(golden.fill_state_dict(published))
    model.load_state_dict(weights)
    return model.eval()


def compare_inference(model: physseg.PhysSeg, reference: dict[str, np.ndarray], title: str) -> None:
    """Rows for one inference mode."""
    inputs = {"image": golden.image(HEIGHT, WIDTH), "height": HEIGHT, "width": WIDTH}
    probabilities = model([inputs])[0]["sem_seg"]
    labels = model([inputs | {"output": "labels"}])[0]["labels"]
    text = model.text_features(golden.VOC20)[None]
    print(f"{title:15s} text_feats  {np.abs(text.numpy() - reference['text_feats']).max():.1e}")
    print(f"{title:15s} sem_seg     {np.abs(probabilities[:, ::8, ::8].numpy() - reference['sem_seg']).max():.1e}")
    differ = labels[::2, ::2].numpy() != reference["argmax"]
    top = probabilities.topk(2, dim=0).values
    gap = (top[0] - top[1])[::2, ::2].numpy()
    worst = gap[differ].max() if differ.any() else 0.0
    print(f"{title:15s} argmax      {differ.sum()} of {differ.size} differ, all with a lead below {worst:.1e}")


def compare_training(model: physseg.PhysSeg, folder: Path) -> None:
    """Rows for the loss and the gradient norms."""
    model.train()
    loss = model([{"image": golden.image(384, 384), "sem_seg": golden.labels()[0]}])["loss_sem_seg"]
    loss.backward()
    expected = float(np.load(folder / "vitb16_voc20_train.npz")["loss"])
    print(f"{'training':15s} loss        {loss.item():.7f}, reference {expected:.7f}")
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    norms = {name: gradient.norm().item() for name, gradient in to_catseg(gradients)[0].items()}
    reference = json.loads((folder / "vitb16_voc20_train.grad_norms.json").read_text())
    assert norms.keys() == reference.keys(), "the trained parameters differ"
    # A key bias of the window attention has a true gradient of zero: below 1e-6 only rounding is left.
    worst = max((abs(norms[name] - value) / value, name) for name, value in reference.items() if value > 1e-6)
    print(f"{'training':15s} grad norms  {len(norms)} parameters, worst {worst[0]:.1e} relative ({worst[1]})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, required=True, metavar="FOLDER")
    folder = parser.parse_args().golden
    if not (folder / "vitb16_voc20.npz").is_file():
        parser.error(f"no vitb16_voc20.npz in {folder}")
    plain = build_model(sliding=False)
    compare_inference(plain, np.load(folder / "vitb16_voc20.npz"), "plain")
    compare_inference(build_model(sliding=True), np.load(folder / "vitb16_voc20_sliding.npz"), "sliding window")
    compare_training(plain, folder)


if __name__ == "__main__":
    main()
