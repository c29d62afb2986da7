"""The paper's two additions in the whole model: apart in training, absent at inference."""

import pytest
import torch
from detectron2.modeling import build_model

from physseg.config import load_config

SIZE = 96


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Builds a small model with or without the additions; four names, so that a training step is short."""
    names = tmp_path_factory.mktemp("vocabulary") / "names.txt"
    names.write_text("red square\ntree\nblue star\nwater\n")

    def build(additions: bool, *opts) -> torch.nn.Module:
        torch.manual_seed(0)
        small = ["MODEL.DEVICE", "cpu", "MODEL.CLIP.NAME", "physseg-toy", "MODEL.CLIP.PRETRAINED", ""]
        small += ["MODEL.CLIP.IMAGE_SIZE", SIZE, "MODEL.AGGREGATION.WINDOW", 6, "MODEL.AGGREGATION.DIM", 64]
        small += ["MODEL.AGGREGATION.GUIDANCE_DIM", 32, "MODEL.STRUCTURE.DIM", 32, "MODEL.TEXT.VOCABULARY", str(names)]
        small += ["MODEL.PATCH_ALIGNMENT.ENABLED", additions, "MODEL.STRUCTURE.ENABLED", additions]
        return build_model(load_config(None, [*small, *opts]))

    return build


def batch(classes: int, sources: int = 1) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randint(0, 256, (3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
            "sem_seg": torch.randint(0, classes, (SIZE, SIZE), generator=generator),
            "structure": torch.randint(0, 2, (sources, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        }
        for _ in range(2)
    ]


@pytest.mark.parametrize("sliding", [False, True])
def test_inference_equals_the_baselines_bit_for_bit(build, sliding):
    window = ["TEST.SLIDING_WINDOW", sliding, "TEST.WINDOW_SIZE", 96]
    window += ["TEST.WINDOW_STRIDE", 64, "TEST.WINDOW_CANVAS", 160]
    physical, baseline = build(True, *window).eval(), build(False, *window).eval()
    state = physical.state_dict()
    baseline.load_state_dict({name: state[name] for name in baseline.state_dict()})
    inputs = [{"image": x["image"], "vocabulary": ["red square", "tree"]} for x in batch(2)]
    for ours, theirs in zip(physical(inputs), baseline(inputs), strict=True):
        assert torch.equal(ours["sem_seg"], theirs["sem_seg"])


def test_each_addition_is_a_loss_of_its_own_and_leaves_the_others_alone(build):
    full = build(True, "MODEL.STRUCTURE.SOURCES", ["canny", "edge_gt"]).train()
    inputs = batch(len(full.vocabulary), sources=2)
    losses = full(inputs)
    assert list(losses) == ["loss_sem_seg", "loss_patch_alignment", "loss_structure"]
    baseline = build(False).train()
    baseline.load_state_dict({name: full.state_dict()[name] for name in baseline.state_dict()})
    alone = baseline(inputs)
    assert list(alone) == ["loss_sem_seg"]
    assert torch.equal(alone["loss_sem_seg"], losses["loss_sem_seg"])


def test_weights_scale_the_losses(build):
    inputs = None
    totals = []
    for weight in (1.0, 3.0):
        weighted = build(True, "MODEL.PATCH_ALIGNMENT.WEIGHT", weight, "MODEL.STRUCTURE.WEIGHT", weight).train()
        inputs = inputs or batch(len(weighted.vocabulary))
        losses = weighted(inputs)
        totals.append(torch.stack([losses["loss_patch_alignment"], losses["loss_structure"]]))
    torch.testing.assert_close(totals[1], 3 * totals[0])


def test_structure_logits_need_a_head(build):
    full = build(True).eval()
    assert full.structure_logits(batch(2)).shape == (2, 1, 48, 48)  # four times the token grid
    with pytest.raises(RuntimeError, match=r"MODEL.STRUCTURE.ENABLED"):
        build(False).structure_logits(batch(2))


def test_superpoint_fills_its_channel_of_the_padded_targets(build):
    class Everywhere:
        """Stands in for the network: every pixel of an image is a keypoint."""

        def fill(self, structure, images, channel):
            for target, image in zip(structure, images, strict=True):
                target[channel, : image.shape[1], : image.shape[2]] = 1

    model = build(True, "MODEL.STRUCTURE.SOURCES", ["canny", "superpoint"]).train()
    assert model.device_sources.keys() == {1}
    model.device_sources[1] = Everywhere()
    inputs = batch(len(model.vocabulary), sources=2)
    for x in inputs:
        x["image"], x["structure"] = x["image"][:, :70], torch.zeros_like(x["structure"][:, :70])
    targets = model.structure_targets(inputs)
    assert targets.shape == (2, 2, 96, 96)  # to a multiple of 32
    assert targets[:, 0].sum() == 0
    assert targets[:, 1, :70].min() == 1
    assert targets[:, 1, 70:].max() == 0
    assert inputs[0]["structure"].sum() == 0  # the mapper's maps are left alone


def test_superpoint_is_not_loaded_where_its_maps_are_files(build):
    ready = ["MODEL.STRUCTURE.SOURCES", ["superpoint"], "MODEL.STRUCTURE.MAPS_SOURCES", ["superpoint"]]
    assert build(True, *ready, "MODEL.STRUCTURE.MAPS_ROOT", "maps").device_sources == {}


def test_a_soft_source_makes_the_targets_soft(build):
    model = build(True, "MODEL.STRUCTURE.SOURCES", ["canny", "sobel"]).train()
    inputs = batch(len(model.vocabulary), sources=2)
    targets = model.structure_targets(inputs)
    assert targets.dtype == torch.float32
    assert torch.equal(targets[:, 0], torch.stack([x["structure"][0] for x in inputs]).float())
    assert ((targets[:, 1] > 0) & (targets[:, 1] < 1)).any()
    model(inputs)["loss_structure"].backward()
    assert model.structure_head.predict.weight.grad.isfinite().all()
