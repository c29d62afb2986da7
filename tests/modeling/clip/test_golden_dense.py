"""The published implementations' reference numbers, ViT-B/16 at full size; skipped where they are not at hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from physseg.modeling.clip import calibrated_paths, dense_paths
from physseg.modeling.clip.calibrated_paths import Levels
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.plain_tower import to_map
from tests.reference import golden_clip as golden

pytestmark = [
    pytest.mark.skipif(not golden.AT_HAND, reason="reference numbers are not at hand"),
    pytest.mark.usefixtures("no_gradients"),
]

PATHS = {
    "naclip": lambda block, x, grid: dense_paths.naclip(block, x, grid),
    "naclip_std2": lambda block, x, grid: dense_paths.naclip(block, x, grid, std=2.0),
    "csa": lambda block, x, grid: dense_paths.sclip(block, x),
    "clip": lambda block, x, grid: dense_paths.clip(block, x),
}


@pytest.fixture
def no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    weights = golden.write_weights(tmp_path_factory.mktemp("golden") / "clip.pt")
    return ClipEncoder("ViT-B-16-quickgelu", str(weights), finetune="frozen", templates=["imagenet"]).eval()


def difference(found, expected):
    return np.abs(found.numpy() - expected).max()


def logits(dense, expected):
    """Cosines with the file's text features: (T, H, W)."""
    text = torch.from_numpy(expected["text_features"])
    return torch.einsum("behw,te->bthw", F.normalize(dense, dim=1), text)[0]


def test_text_features(clip):
    expected = np.load(golden.NACLIP / "dense_224x224.npz")["text_features"]
    found = F.normalize(clip.encode_text(golden.V20).mean(1), dim=-1)
    assert difference(found, expected) < 1e-5


@pytest.mark.parametrize(
    ("file", "size", "seed", "keys"),
    [("dense_224x224", (224, 224), 0, tuple(PATHS)), ("dense_336x448", (336, 448), 1, ("naclip",))],
)
def test_naclip_and_its_relatives(clip, file, size, seed, keys):
    expected = np.load(golden.NACLIP / f"{file}.npz")
    last, _, grid = clip.tower.tokens(golden.image(*size, seed), offset=0.1)
    assert grid == (size[0] // 16, size[1] // 16)
    for key in keys:
        tokens = clip.tower.embed(PATHS[key](clip.tower.blocks[-1], last, grid))
        assert difference(tokens[0, :, ::8], expected[f"{key}.tokens"]) < 1e-4, key
        found = logits(to_map(tokens, grid), expected)
        assert difference(found, expected[f"{key}.logits"]) < 1e-5, key
        if f"{key}.logits_full" not in expected:
            continue
        full = F.interpolate(found[None], size=size, mode="bilinear", align_corners=False)[0, :, ::8, ::8]
        assert difference(full, expected[f"{key}.logits_full"]) < 1e-5, key


def test_neighbourhood():
    expected = np.load(golden.NACLIP / "dense_224x224.npz")["bias_3x4_std5"]
    assert difference(dense_paths.neighbourhood((3, 4), 5.0), expected) < 1e-6


@pytest.mark.parametrize(("size", "seed"), [(336, 0), (224, 1)])
def test_sc_clip_step_by_step(clip, size, seed):
    expected = np.load(golden.SCCLIP / f"dense_{size}x{size}.npz")
    levels, blocks = Levels.of(12), clip.tower.blocks
    tokens = clip.tower.tokens(golden.image(size, size, seed), levels.all, offset=0.1)
    x, grid, last = tokens.levels, tokens.grid, blocks[-1]
    part = np.s_[::7, ::16]

    assert difference(calibrated_paths.density_scores(x[10][:, 1:])[0], expected["lof_scores"]) < 1e-5
    wrong = calibrated_paths.outlying_by_density(x[10][:, 1:])
    assert wrong[0].nonzero()[:, 0].tolist() == expected["outliers"].tolist()
    repaired = calibrated_paths.repair(x[10], wrong, grid)
    assert difference(repaired[0][part], expected["x10_repaired"]) < 1e-4
    close = calibrated_paths.cosine(calibrated_paths.repair(x[8], wrong, grid))
    assert difference(close[0, ::7, ::7], expected["similarity_x8"]) < 1e-4
    detailed = calibrated_paths.cosine(x[3][:, 1:])
    kept = detailed * (detailed >= calibrated_paths.THRESHOLD)
    assert difference(kept[0, ::7, ::7], expected["similarity_x3_thresholded"]) < 1e-4
    z = calibrated_paths.averaging(close) @ repaired
    assert difference(z[0][part], expected["aggregated_pre"]) < 1e-4

    def mixed(u):
        return calibrated_paths.calibrated_attention(last, u, calibrated_paths.sharpened(close))

    z = mixed(z)
    assert difference(z[0][part], expected["attention_main"]) < 1e-4
    share = calibrated_paths.CLASS_SHARE
    average = calibrated_paths.averaging(detailed)
    assert difference((average @ (z + share * x[10][:, :1]))[0][part], expected["aggregated_post"]) < 1e-4
    total = sum(x[level] for level in range(3, 10))
    r = mixed(total[:, 1:])
    assert difference(r[0][part], expected["attention_levels"]) < 1e-4
    assert difference((average @ (r + share * total[:, :1]))[0][part], expected["aggregated_levels"]) < 1e-4

    features = clip.tower.embed(calibrated_paths.sc_clip(blocks, tokens))
    assert difference(features[0, :, ::8], expected["features"]) < 1e-4
    assert difference(logits(to_map(features, grid, prefix=0), expected), expected["logits"]) < 1e-5


@pytest.mark.parametrize(("size", "seed", "ways"), [(336, 0, ("SOM", "L2", "LOF")), (224, 1, ("SOM",))])
def test_sfp(clip, size, seed, ways):
    expected = np.load(golden.SFP / f"dense_{size}x{size}.npz")
    tokens = clip.tower.tokens(golden.image(size, size, seed), Levels.of(12).all, offset=0.1)
    attention = calibrated_paths.attention_map(clip.tower.blocks[10], tokens.levels[9])
    wrong = calibrated_paths.outlying_by_attention(attention)[0].unflatten(0, tokens.grid).nonzero().tolist()
    assert sorted(wrong) == sorted(expected["SOM.outliers"].tolist())
    for way in ways:
        features = clip.tower.embed(calibrated_paths.sfp(clip.tower.blocks, tokens, way.lower()))
        step = 8 if way == "SOM" else 16
        assert difference(features[0, :, ::step], expected[f"{way}.features"]) < 1e-4, way
        found = logits(to_map(features, tokens.grid, prefix=0), expected)
        assert difference(found, expected[f"{way}.logits"]) < 1e-5, way


def test_a_batch_equals_its_images(clip):
    images = torch.cat([golden.image(64, 96, seed) for seed in (0, 1)])
    levels, blocks = Levels.of(12).all, clip.tower.blocks
    together = clip.tower.tokens(images, levels, offset=0.1)
    for path in (calibrated_paths.sc_clip, calibrated_paths.sfp):
        found = path(blocks, together)
        for index in range(2):
            alone = path(blocks, clip.tower.tokens(images[index : index + 1], levels, offset=0.1))
            torch.testing.assert_close(found[index : index + 1], alone, rtol=0, atol=1e-4)
