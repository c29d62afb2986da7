"""What trains in each config of the 2023 design, by published name; the models are built on PyTorch's "meta" device."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from physseg import PhysSeg, load_config
from physseg.modeling.catseg.names import to_catseg
from physseg.modeling.catseg.shapes import CONFIGS, published_shapes

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "golden2023"
RANDOM = ("MODEL.CLIP.PRETRAINED", "MODEL.SWIN.PRETRAINED", "MODEL.APPEARANCE.WEIGHTS")
OPTS = (*(x for key in RANDOM for x in (key, "")), "MODEL.DEVICE", "cpu", "MODEL.TEXT.VOCABULARY", "pas20")
# Config, list of published shapes, blocks of CLIP's image tower, trained tensors of the backbone, of all.
CASES = [
    ("catseg_2023_vitb16_r101", "vitb16_r101", 12, 94, 267),
    ("catseg_2023_vitl14_swinb", "vitl14_swinb", 24, 0, 221),
    ("catseg_2023_vith14_swinb", "vith14_swinb", 32, 0, 253),
    ("catseg_2023_vitg14_swinb", "vitg14_swinb", 48, 0, 317),
]


@pytest.mark.parametrize(("config", "shapes", "blocks", "backbone", "total"), CASES, ids=[case[0] for case in CASES])
def test_trained_parameters(config, shapes, blocks, backbone, total):
    cfg = load_config(f"configs/{config}.yaml", OPTS)
    with torch.device("meta"):
        model = PhysSeg(cfg)
    trained, unknown = to_catseg({n: p for n, p in model.named_parameters() if p.requires_grad}, packed=True)
    assert not unknown
    visual = r"sem_seg_head\.predictor\.clip_model\.visual"
    patterns = {
        "head": r"sem_seg_head\.predictor\.transformer\..*",
        "attention": visual
        + r"\.transformer\.resblocks\.\d+\.attn\.(in_proj_weight|in_proj_bias|out_proj\.weight|out_proj\.bias)",
        "positions": visual + r"\.positional_embedding",
        "backbone": r"backbone\..*conv.*\.weight|backbone\..*shortcut\.weight",
    }
    counts = Counter(next(k for k, pattern in patterns.items() if re.fullmatch(pattern, name)) for name in trained)
    expected = {"head": 124, "attention": 4 * blocks, "positions": 1, "backbone": backbone}
    assert counts == {key: count for key, count in expected.items() if count}
    assert len(trained) == total
    norms = [n for n in trained if re.search(r"transformer\..*(norm\d?|double_conv\.[14])\.(weight|bias)$", n)]
    assert len([n for n in norms if "clip_model" not in n]) == 36

    ours = {name: tuple(value.shape) for name, value in to_catseg(model.state_dict(), packed=True)[0].items()}
    listed = published_shapes(CONFIGS[f"configs/{config}.yaml"])
    assert ours.items() <= listed.items()
    assert all(name.endswith(("attn_mask", "relative_position_index")) for name in listed.keys() - ours.keys())
    if FOLDER.is_dir():
        published = json.loads((FOLDER / f"{shapes}_state_dict_shapes.json").read_text())
        assert listed == {name: tuple(shape) for name, shape in published.items()}
