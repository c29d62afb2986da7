#!/usr/bin/env python
"""Compare the baselines with reference numbers of the published implementations, array by array.

    python benchmarks/parity.py --golden FOLDER        # CVPR'24 design
    python benchmarks/parity.py --golden2023 FOLDER    # 2023 design

A FOLDER holds what docs/parity.md describes: outputs of a published ViT-B/16 model for weights that are a function of
their names. Prints the largest absolute difference of each array, the loss, and the worst gradient norm.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import physseg  # noqa: E402  (first of these: it prepares Detectron2)
from physseg.modeling.catseg.names import to_catseg, to_physseg  # noqa: E402
from tests.reference import golden, golden2023  # noqa: E402

CONFIG = ROOT / "configs" / "catseg_vitb16.yaml"
WINDOW = {"size": 384, "stride": 256, "canvas": 640, "keep_aspect": False}
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


def compare_2023(folder: Path, variant: str) -> None:
    """All rows of one variant of the 2023 design."""
    model = golden2023.build_model(
        variant, golden2023.read_json(folder / f"{variant}_state_dict_shapes.json"), ROOT / "configs"
    )
    for title, suffix, window in (("plain", "", None), ("sliding window", "_sliding", WINDOW)):
        file = folder / f"{variant}{suffix}.npz"
        if not file.is_file():
            continue
        reference = np.load(file)
        found = golden2023.evaluate(model, window)
        for name, worst in golden2023.differences(found, reference).items():
            print(f"{variant:13s} {title:15s} {name:15s} {worst:.1e} (allowed {golden2023.TOLERANCES[name]:.0e})")
        leads = golden2023.leads_of_other_labels(found, reference)
        lead = f", all with a lead of at most {leads.max():.1e}" if len(leads) else ""
        print(f"{variant:13s} {title:15s} {'argmax':15s} {len(leads)} of {found.labels.size} differ{lead}", flush=True)
    loss, gradients = golden2023.train_step(model)
    expected = float(np.load(folder / f"{variant}_train.npz")["loss"])
    print(f"{variant:13s} {'training':15s} {'loss':15s} {loss:.8f}, reference {expected:.8f}")
    norms = golden2023.read_json(folder / f"{variant}_train.grad_norms.json")
    assert gradients.keys() == norms.keys(), "the trained parameters differ"
    worst, name = golden2023.worst_norm(gradients, norms)
    print(f"{variant:13s} {'training':15s} {'grad norms':15s} {len(norms)} parameters, worst {worst:.1e} ({name})")
    nothing = golden2023.largest_without_effect(gradients)
    print(f"{variant:13s} {'training':15s} {'key biases':15s} at most {nothing:.1e}, in truth 0", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, metavar="FOLDER", help="of the CVPR'24 design")
    parser.add_argument("--golden2023", type=Path, metavar="FOLDER", help="of the 2023 design")
    args = parser.parse_args()
    wanted = ((args.golden, "vitb16_voc20.npz"), (args.golden2023, "vitb16_swinb.npz"))
    for folder, file in wanted:
        if folder is not None and not (folder / file).is_file():
            parser.error(f"no {file} in {folder}")
    if args.golden is None and args.golden2023 is None:
        parser.error("give --golden, --golden2023 or both")
    if args.golden is not None:
        plain = build_model(sliding=False)
        compare_inference(plain, np.load(args.golden / "vitb16_voc20.npz"), "plain")
        compare_inference(
            build_model(sliding=True), np.load(args.golden / "vitb16_voc20_sliding.npz"), "sliding window"
        )
        compare_training(plain, args.golden)
    if args.golden2023 is not None:
        for variant in golden2023.VARIANTS:
            compare_2023(args.golden2023, variant)


if __name__ == "__main__":
    main()
