import json

import category_similarity as similarity_tool
import numpy as np
import open_clip
import oracle_study as oracle_tool
import pytest
import torch

from physseg.data.specs import TOY
from physseg.modeling.clip_weights import create_clip
from physseg.toy_world.clip import register_toy_clip

CONFIG = "configs/toy.yaml"


def test_similarity_of_the_toy_vocabularies(tmp_path, capsys):
    out = tmp_path / "similarity.json"
    options = ["--output", str(out), "--benchmarks", *TOY, "MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", "cpu"]
    assert similarity_tool.main(["--config-file", CONFIG, *options]) == 0
    values = json.loads(out.read_text())
    assert list(values) == [f"toy {title}" for title in ("A-847", "PC-459", "A-150", "PC-59", "PAS-20", "PAS-20b")]
    assert all(-1 <= entry["symmetric"] <= entry["hausdorff"] <= entry["mean"] <= 1 for entry in values.values())
    assert "farthest (nearest)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmarks", "nowhere"], "no data set 'nowhere'"),
        (["--training", "nowhere"], "vocabulary 'nowhere' is neither"),
        (["MODEL.CLIP.PRETRAINED", "gone.pt"], "no file gone.pt"),
    ],
)
def test_similarity_bad_input(options, message, capsys):
    assert similarity_tool.main(["--config-file", CONFIG, *options]) == 1
    assert message in capsys.readouterr().err


def test_oracle_bad_benchmark(capsys):
    assert oracle_tool.main(["--config-file", CONFIG, "--benchmark", "nowhere"]) == 1
    assert "no data set 'nowhere'" in capsys.readouterr().err


def test_plain_embedding_is_open_clips():
    ours = create_clip("physseg-toy", "").eval()
    register_toy_clip()
    theirs = open_clip.create_model("physseg-toy", load_weights=False).eval()
    state = ours.state_dict()
    # Pack q, k and v again.
    for name in [n for n in state if n.endswith("q_proj_weight")]:
        parts = [state.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        state[name.replace("q_proj_weight", "in_proj_weight")] = torch.cat(parts)
    theirs.load_state_dict(state)
    side = theirs.visual.image_size[0]
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        expected = theirs.encode_image(images, normalize=True)
        found = oracle_tool.embed_images(ours.visual, images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
