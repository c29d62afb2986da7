"""The 2023 design: an appearance backbone guides, frozen or not; the text encoder is frozen."""

import pickle

import pytest
import timm
import torch
import torch.nn.functional as F
from detectron2.modeling import build_backbone

from physseg import PhysSeg
from physseg.config import load_config
from physseg.engine.optimizer import build_optimizer
from physseg.modeling.catseg.appearance_guidance import AppearanceGuidance, load_backbone_weights
from physseg.modeling.catseg.guidance import build_guidance
from physseg.modeling.catseg.swin_backbone import TimmSwin

TINY = "swin_tiny_patch4_window7_224"
TOY = ["MODEL.CLIP.NAME", "physseg-toy", "MODEL.CLIP.PRETRAINED", "", "MODEL.CLIP.IMAGE_SIZE", 48]
TOY += ["MODEL.AGGREGATION.WINDOW", 6, "MODEL.AGGREGATION.DIM", 64, "MODEL.AGGREGATION.GUIDANCE_DIM", 16]
TOY += ["MODEL.APPEARANCE.IMAGE_SIZE", 96, "MODEL.SWIN.NAME", TINY, "MODEL.SWIN.PRETRAINED", ""]
TOY += ["MODEL.TEXT.TEMPLATES", ["a {}", "the {}", "one {}"], "MODEL.STRUCTURE.DIM", 32, "MODEL.DEVICE", "cpu"]
RESNET = ["MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4"]]
MEAN, STD, CLIP_MEAN, CLIP_STD = (10.0, 20.0, 30.0), (2.0, 4.0, 5.0), (1.0, 2.0, 3.0), (7.0, 8.0, 9.0)


def config(tmp_path, *opts):
    words = tmp_path / "words.txt"
    words.write_text("cat\ndog\nsky\ntree\n")
    opts = [*TOY, "MODEL.TEXT.VOCABULARY", str(words), *opts]
    return load_config("configs/physseg_2023_vitl14_swinb.yaml", opts)


def test_the_shipped_config():
    cfg = load_config("configs/physseg_2023_vitl14_swinb.yaml")
    assert cfg.MODEL.CLIP.NAME == "ViT-L-14-336-quickgelu"
    assert cfg.MODEL.SWIN.NAME == "swin_base_patch4_window12_384"
    assert cfg.MODEL.CLIP.IMAGE_SIZE // 14 * 16 == cfg.MODEL.APPEARANCE.IMAGE_SIZE
    assert cfg.MODEL.PATCH_ALIGNMENT.ENABLED
    assert cfg.MODEL.STRUCTURE.ENABLED
    assert not load_config("configs/catseg_2023_vitl14_swinb.yaml").MODEL.STRUCTURE.ENABLED


def test_swin_maps_are_timms_normalised_and_channels_first():
    swin = TimmSwin(TINY, "", 96).eval()
    images = torch.randn(1, 3, 96, 96)
    maps = swin(images)
    assert {n: (s.channels, s.stride) for n, s in swin.output_shape().items()} == {
        "stage1": (96, 4),
        "stage2": (192, 8),
        "stage3": (384, 16),
    }
    for index, (name, spec) in enumerate(swin.output_shape().items()):
        assert maps[name].shape == (1, spec.channels, 96 // spec.stride, 96 // spec.stride)
        expected = F.layer_norm(swin.body(images)[index], (spec.channels,)).permute(0, 3, 1, 2)
        torch.testing.assert_close(maps[name], expected)


def test_swin_weights_from_a_local_file(tmp_path):
    source = timm.create_model(TINY, pretrained=False)
    torch.save({"model": source.state_dict()}, tmp_path / "swin.pth")
    swin = TimmSwin(TINY, str(tmp_path / "swin.pth"), 96)
    assert torch.equal(swin.body.patch_embed.proj.weight, source.patch_embed.proj.weight)
    last = source.layers[2].blocks[-1].mlp.fc2.weight
    assert torch.equal(swin.body.layers_2.blocks[-1].mlp.fc2.weight, last)


def test_swin_errors(tmp_path):
    with pytest.raises(ValueError, match=r"MODEL.SWIN.NAME: timm .* has no Swin model 'resnet18'"):
        TimmSwin("resnet18", "", 96)
    with pytest.raises(ValueError, match=r"MODEL.SWIN.PRETRAINED: .* no weights 'nope'; known tags: \['ms_in"):
        TimmSwin(TINY, "nope", 96)
    with pytest.raises(FileNotFoundError, match=r"MODEL.SWIN.PRETRAINED: no file .*none.pth"):
        TimmSwin(TINY, str(tmp_path / "none.pth"), 96)
    torch.save({"model": {"a": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"MODEL.SWIN.PRETRAINED: .*other.pth does not fit"):
        TimmSwin(TINY, str(tmp_path / "other.pth"), 96)


class Recorder(torch.nn.Module):
    """A backbone that shows what it was given."""

    def output_shape(self):
        from detectron2.layers import ShapeSpec

        return {f"s{stride}": ShapeSpec(channels=3, stride=stride) for stride in (4, 8, 16)}

    def forward(self, images):
        self.images = images
        return {f"s{stride}": F.avg_pool2d(images, stride) for stride in (4, 8, 16)}


def test_backbone_sees_every_image_resized_and_with_its_own_statistics():
    guidance = AppearanceGuidance(Recorder(), 2, 32, MEAN, STD, CLIP_MEAN, CLIP_STD)
    pixels = [torch.rand(3, 20, 50) * 255, torch.rand(3, 32, 32) * 255]

    def normalised(image, mean, std):
        return (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)

    maps = guidance(None, [normalised(image, CLIP_MEAN, CLIP_STD) for image in pixels])
    resized = F.interpolate(pixels[0][None], size=(32, 32), mode="bilinear", align_corners=False)[0]
    expected = torch.stack([normalised(image, MEAN, STD) for image in (resized, pixels[1])])
    torch.testing.assert_close(guidance.backbone.images, expected, rtol=1e-4, atol=1e-4)
    assert {name: tuple(value.shape) for name, value in maps.items()} == {
        "g3": (2, 3, 2, 2),
        "g4": (2, 3, 4, 4),
        "g5": (2, 3, 8, 8),
    }


def test_grids_that_do_not_match():
    with pytest.raises(ValueError, match=r"MODEL.APPEARANCE.IMAGE_SIZE: expected 384, 16 times the token grid of 24"):
        AppearanceGuidance(Recorder(), 24, 336, MEAN, STD, CLIP_MEAN, CLIP_STD)


def test_backbone_without_the_strides_names_the_resnet_key(tmp_path):
    cfg = config(tmp_path, *RESNET[:2])
    with pytest.raises(ValueError, match=r"stride 4, 8 and 16, got \{'res4': 16\}.*MODEL.RESNETS.OUT_FEATURES"):
        AppearanceGuidance.from_config(cfg, 6)


def test_unknown_guidance(tmp_path):
    cfg = config(tmp_path)
    cfg.MODEL.GUIDANCE = "both"
    with pytest.raises(ValueError, match=r"MODEL.GUIDANCE: expected one of \('clip', 'backbone'\), got 'both'"):
        build_guidance(cfg, None)


def test_resnet_and_its_weight_file(tmp_path):
    cfg = config(tmp_path, *RESNET)
    source = build_backbone(cfg)
    arrays = {name: value.numpy() for name, value in source.state_dict().items()} | {"fc.weight": torch.ones(1).numpy()}
    with open(tmp_path / "r50.pkl", "wb") as file:
        pickle.dump({"model": arrays, "__author__": "test"}, file)
    guidance = AppearanceGuidance.from_config(config(tmp_path, *RESNET, "MODEL.APPEARANCE.WEIGHTS", file.name), 6)
    assert guidance.channels == {"g3": 1024, "g4": 512, "g5": 256}
    for name, value in guidance.backbone.state_dict().items():
        assert torch.equal(value, source.state_dict()[name])
    maps = guidance(None, torch.randn(1, 3, 64, 96))
    assert [maps[name].shape[-1] for name in ("g3", "g4", "g5")] == [6, 12, 24]
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"MODEL.APPEARANCE.WEIGHTS: .*other.pth lacks \d+ of the backbone's"):
        load_backbone_weights(source, str(tmp_path / "other.pth"))
    with pytest.raises(FileNotFoundError, match=r"MODEL.APPEARANCE.WEIGHTS: no file"):
        load_backbone_weights(source, str(tmp_path / "none.pth"))


def test_padding_is_the_backbones_mean_colour():
    guidance = AppearanceGuidance(Recorder(), 2, 32, MEAN, STD, CLIP_MEAN, CLIP_STD)
    padded = torch.zeros(3, 32, 32)
    padded[:, :20, :24] = torch.randn(3, 20, 24)
    guidance(None, [padded], [(20, 24)])
    seen = guidance.backbone.images[0]
    assert not seen[:, 20:].any()
    assert not seen[:, :, 24:].any()
    assert seen[:, :20, :24].abs().min() > 0
    assert not padded[:, 20:].any()  # the caller's images stay as they are


def test_drop_path_rises_to_its_rate_at_the_last_block_that_is_built():
    swin = TimmSwin(TINY, "", 96, drop_path=0.2)
    blocks = [
        block for stage in ("layers_0", "layers_1", "layers_2") for block in swin.body.get_submodule(stage).blocks
    ]
    assert len(blocks) == 10
    for index, block in enumerate(blocks):
        assert block.drop_path1.drop_prob == block.drop_path2.drop_prob == pytest.approx(0.2 * index / 9)
    images = torch.randn(1, 3, 96, 96)
    swin.eval()
    assert torch.equal(swin(images)["stage3"], swin(images)["stage3"])
    swin.train()
    assert not torch.equal(swin(images)["stage3"], swin(images)["stage3"])
    with pytest.raises(ValueError, match=r"MODEL.SWIN.DROP_PATH: expected a rate .* got 1.5"):
        TimmSwin(TINY, "", 96, drop_path=1.5)


def test_weights_of_detectron2s_model_zoo(tmp_path, monkeypatch):
    cfg = config(tmp_path, *RESNET)
    source = build_backbone(cfg)
    with open(tmp_path / "R-50.pkl", "wb") as file:
        arrays = {name: value.numpy() for name, value in source.state_dict().items()}
        pickle.dump({"model": arrays, "matching_heuristics": True}, file)
    address = "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
    fetch = "physseg.modeling.catseg.appearance_guidance.PathManager.get_local_path"
    monkeypatch.setattr(fetch, {address: file.name}.__getitem__)
    other = build_backbone(cfg)
    load_backbone_weights(other, address)
    assert torch.equal(other.stem.conv1.weight, source.stem.conv1.weight)
    with pytest.raises(ConnectionError, match=r"APPEARANCE.WEIGHTS: could not fetch detectron2://none .* its path"):
        load_backbone_weights(other, "detectron2://none")


@pytest.fixture(scope="module")
def model_and_config(tmp_path_factory):
    torch.manual_seed(0)
    cfg = config(tmp_path_factory.mktemp("words"))
    return PhysSeg(cfg), cfg


def train_step(model) -> dict[str, torch.Tensor]:
    """Gradients of one step with both additions, by name."""
    model.zero_grad()
    sample = {"image": torch.rand(3, 96, 96) * 255, "sem_seg": torch.randint(0, 4, (96, 96))}
    sample["structure"] = torch.randint(0, 2, (1, 96, 96), dtype=torch.uint8)
    losses = model([sample])
    assert set(losses) == {"loss_sem_seg", "loss_patch_alignment", "loss_structure"}
    sum(losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def test_training_step(model_and_config, monkeypatch):
    """What trains: CLIP's image attention and positions, and the head; text is encoded once, Swin is frozen."""
    model, cfg = model_and_config
    calls, tokenizer = [], model.clip.tokenizer
    monkeypatch.setattr(model.clip, "tokenizer", lambda prompts: calls.append(len(prompts)) or tokenizer(prompts))
    # Names of this test alone: those of other tests may be encoded already.
    monkeypatch.setattr(model, "vocabulary", ("north", "east", "south", "west"))
    model.train()
    train_step(model)
    gradients = train_step(model)
    assert calls.count(4 * 3) == 1
    clip = {name.removeprefix("clip.model.visual.") for name in gradients if name.startswith("clip.")}
    leaves = ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    depth = len(model.clip.model.visual.transformer.resblocks)
    attention = {f"transformer.resblocks.{i}.attn.{leaf}" for i in range(depth) for leaf in leaves}
    assert clip == attention | {"positional_embedding"}
    assert not any(name.startswith("guidance.") for name in gradients)
    assert not any("padding" in name for name in gradients)
    groups = {group["name"]: group for group in build_optimizer(cfg, model).param_groups}
    assert set(groups) == {"clip", "head", "head_no_decay"}
    assert groups["clip"]["lr"] == pytest.approx(2e-6)


def reached_by_structure_loss(model) -> set[str]:
    """Names of the weights that get another gradient than zero from L_p alone."""
    model.zero_grad()
    sample = {"image": torch.rand(3, 96, 96) * 255, "sem_seg": torch.randint(0, 4, (96, 96))}
    sample["structure"] = torch.randint(0, 2, (1, 96, 96), dtype=torch.uint8)
    model.train()([sample])["loss_structure"].backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}


def test_what_the_structure_loss_reaches(model_and_config):
    """With a frozen Swin: the head itself, and through the dense features every trained weight of CLIP that counts."""
    model, _ = model_and_config
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    last = f"resblocks.{len(model.clip.model.visual.transformer.resblocks) - 1}.attn."
    unused = {n for n in trained if n.endswith((f"{last}q_proj_weight", f"{last}k_proj_weight"))}
    assert len(unused) == 2
    expected = {n for n in trained if n.startswith(("clip.", "structure_head."))} - unused
    assert reached_by_structure_loss(model) == expected


def test_the_structure_loss_reaches_a_backbone_that_trains(tmp_path):
    model = PhysSeg(config(tmp_path, "MODEL.APPEARANCE.FROZEN", False, "MODEL.SWIN.DROP_PATH", 0.0))
    backbone = {n for n, _ in model.named_parameters() if n.startswith("guidance.backbone.")}
    assert backbone <= reached_by_structure_loss(model)


def test_a_backbone_that_trains(tmp_path):
    cfg = config(tmp_path, "MODEL.APPEARANCE.FROZEN", False, "MODEL.SWIN.DROP_PATH", 0.0)
    model = PhysSeg(cfg).train()
    gradients = train_step(model)
    assert all(gradients[n].abs().sum() > 0 for n in gradients if n.startswith("guidance.backbone.body.patch"))
    groups = {group["name"]: group for group in build_optimizer(cfg, model).param_groups}
    assert groups["backbone"]["lr"] == pytest.approx(2e-6)
    assert groups["backbone_no_decay"]["weight_decay"] == 0
    grouped = {id(p) for name in ("backbone", "backbone_no_decay") for p in groups[name]["params"]}
    assert grouped == {id(p) for p in model.guidance.backbone.parameters()}


@pytest.mark.parametrize("window", [None, {"size": 96, "stride": 64, "canvas": 160, "keep_aspect": False}])
def test_inference(model_and_config, window):
    """Images of two sizes together give what they give alone; labels are the argmax."""
    model, _ = model_and_config
    model.eval()
    model.window = window
    inputs = [{"image": torch.rand(3, h, w) * 255} for h, w in ((80, 110), (96, 64))]
    together = model(inputs)
    for x, result in zip(inputs, together, strict=True):
        assert result["sem_seg"].shape == (4, *x["image"].shape[1:])
        torch.testing.assert_close(result["sem_seg"], model([x])[0]["sem_seg"], rtol=0, atol=1e-5)
        labels = model([x | {"output": "labels"}])[0]["labels"]
        assert torch.equal(labels, model([x])[0]["sem_seg"].argmax(0))
    model.window = None
