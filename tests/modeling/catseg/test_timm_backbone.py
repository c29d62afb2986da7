"""timm models as guidance: small ones of timm's own, random weights."""

import pytest
import torch
from detectron2.modeling import build_model

from physseg import load_config
from physseg.modeling.catseg.timm_backbone import TimmBackbone

TOY = ["MODEL.CLIP.PRETRAINED", "", "MODEL.GUIDANCE", "backbone", "MODEL.APPEARANCE.IMAGE_SIZE", 192]
TIMM = ["MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.PRETRAINED", "", "MODEL.DEVICE", "cpu"]
HALF = ["MODEL.APPEARANCE.PIXEL_MEAN", [127.5] * 3, "MODEL.APPEARANCE.PIXEL_STD", [127.5] * 3]


@pytest.mark.parametrize("name", ["test_convnext", "test_vit", "vit_tiny_patch16_224", "test_resnet"])
def test_strides_of_every_kind(name):
    backbone = TimmBackbone(name, "").eval()
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, 96, 96))
    for stage, shape in backbone.output_shape().items():
        assert maps[stage].shape == (2, shape.channels, 96 // shape.stride, 96 // shape.stride)
    assert [shape.stride for shape in backbone.output_shape().values()] == [4, 8, 16]


def test_a_vits_last_map_is_its_last_layer_as_it_is():
    backbone = TimmBackbone("test_vit", "").eval()
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        tokens = backbone.body.forward_features(images)[:, backbone.body.num_prefix_tokens :]
        expected = tokens.transpose(1, 2).unflatten(2, (6, 6))
        torch.testing.assert_close(backbone(images)["stage3"], expected)


@pytest.mark.parametrize("frozen", [True, False])
def test_a_model_with_it_frozen_or_not(frozen):
    opts = [*TOY, *TIMM, *HALF, "MODEL.TIMM.NAME", "test_vit", "MODEL.APPEARANCE.FROZEN", frozen]
    opts += ["MODEL.STRUCTURE.LEVELS", ["dense", "level2", "g4", "g5"]]
    model = build_model(load_config("configs/toy.yaml", opts))
    trains = {p.requires_grad for p in model.guidance.backbone.parameters()}
    assert trains == {not frozen}
    image = torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        (output,) = model.eval()([{"image": image, "vocabulary": ["red disc", "blue star"]}])
    assert output["sem_seg"].shape == (2, 96, 96)


def test_statistics_of_another_model_are_refused():
    opts = [*TOY, *TIMM, "MODEL.TIMM.NAME", "test_vit"]
    with pytest.raises(ValueError, match=r"PIXEL_MEAN and PIXEL_STD are not test_vit's: set them to \[127.5"):
        build_model(load_config("configs/toy.yaml", opts))


def test_unknown_names():
    with pytest.raises(ValueError, match=r"MODEL.TIMM.NAME: timm .* has no model 'vit_b'"):
        TimmBackbone("vit_b", "")
