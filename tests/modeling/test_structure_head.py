"""Structure head: shapes, order of the levels, norms, and where gradients go."""

import pytest
import torch

from physseg.losses import structure_loss
from physseg.modeling.catseg.guidance import ClipGuidance
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.structure_head import Refine, StructureHead

CHANNELS = {"level1": 12, "level2": 12, "dense": 8, "g3": 8, "g4": 6, "g5": 4}
SIZES = {"level1": 6, "level2": 6, "dense": 6, "g3": 6, "g4": 12, "g5": 24}
LEVELS = ["dense", "level2", "g4", "g5"]


def features() -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(2, channels, SIZES[name], SIZES[name], requires_grad=True)
        for name, channels in CHANNELS.items()
    }


def head(**options) -> StructureHead:
    return StructureHead(CHANNELS, **{"levels": LEVELS, "num_sources": 3, "dim": 32, **options})


def test_four_levels_make_three_refine_modules_on_the_finest_grid():
    module = head()
    assert len(module.refine) == 3
    assert module(features()).shape == (2, 3, 24, 24)


def test_output_size():
    assert head(output_size=10)(features()).shape == (2, 3, 10, 10)


@pytest.mark.parametrize("norm", ["GN", "LN", "BN", ""])
def test_norms(norm):
    assert head(norm=norm)(features()).isfinite().all()


def test_refine_by_hand():
    """Without a norm: ReLU of a 1x1 convolution of the concatenated maps, the coarse one enlarged."""
    module = Refine(1, norm="")
    with torch.no_grad():
        module.fuse.weight.copy_(torch.tensor([2.0, -1.0]).view(1, 2, 1, 1))
        module.fuse.bias.fill_(0.5)
    coarse, fine = torch.full((1, 1, 1, 1), 3.0), torch.tensor([[1.0, 9.0], [6.5, 0.0]]).view(1, 1, 2, 2)
    assert module(coarse, fine).flatten().tolist() == [5.5, 0.0, 0.0, 6.5]


def test_gradients_reach_the_used_levels_alone_and_every_parameter():
    module, maps = head(), features()
    structure_loss(module(maps), torch.randint(0, 2, (2, 3, 96, 96), dtype=torch.uint8)).backward()
    assert [name for name, tensor in maps.items() if tensor.grad is not None] == ["level2", "dense", "g4", "g5"]
    assert all(maps[name].grad.abs().sum() > 0 for name in LEVELS)
    without = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert without == []


def test_the_loss_trains_the_shared_extractor():
    """CLIP with its trainable weights and the guidance maps: which parameters the structure loss reaches."""
    encoder = ClipEncoder("physseg-toy", "", image_size=96)
    guidance = ClipGuidance(encoder.width, encoder.embed_dim, (16, 8))
    channels = {"level2": encoder.width, "dense": encoder.embed_dim, **guidance.channels}
    module = StructureHead(channels, levels=LEVELS, num_sources=1, dim=32)

    encoded = encoder(torch.randn(1, 3, 96, 96))
    logits = module({"level2": encoded.level2, "dense": encoded.dense, **guidance(encoded)})
    structure_loss(logits, torch.randint(0, 2, (1, 1, 96, 96), dtype=torch.uint8)).backward()

    def reached(parameters) -> set[str]:
        return {name for name, p in parameters if p.grad is not None and p.grad.any()}

    depth = len(encoder.model.visual.transformer.resblocks)
    attention = "visual.transformer.resblocks.{}.attn.{}_proj_weight"
    # The dense path takes each token's own value in the last block, so its q moves nothing there.
    expected = {attention.format(block, w) for block in range(depth) for w in "qv"} - {attention.format(depth - 1, "q")}
    assert reached(encoder.model.named_parameters()) == expected  # the image side, nothing of the text side
    assert reached(guidance.named_parameters()) == {name for name, _ in guidance.named_parameters()}


def test_unknown_level_names_the_key_and_the_known_ones():
    with pytest.raises(ValueError, match=r"MODEL.STRUCTURE.LEVELS must name at least two of .*'g5'.*; got \['g9'\]"):
        head(levels=["g9"])


def test_unknown_norm_names_the_key():
    with pytest.raises(ValueError, match=r"MODEL.STRUCTURE.NORM must be one of .*; got 'IN'"):
        head(norm="IN")
