"""Decoder: the folded stages and the last convolution against the layers they stand for."""

import torch
import torch.nn.functional as F

from physseg.modeling.catseg.decoder import Decoder, UpStage


def plain_stage(stage: UpStage, x: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    """As published: upsample, concatenate, twice convolution, norm, ReLU."""
    x = torch.cat([stage.up(x), guidance], dim=1)
    x = F.relu(stage.norm1(stage.conv1(x)))
    return F.relu(stage.norm2(stage.conv2(x)))


def random_decoder() -> Decoder:
    decoder = Decoder(20, (32, 16), (6, 5), (4, 3)).double()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return decoder


def plain_logits(decoder: Decoder, x: torch.Tensor, g4: torch.Tensor, g5: torch.Tensor) -> torch.Tensor:
    """Class by class."""
    b, t, _, c = x.shape
    guidance = [F.relu(project(g)) for project, g in zip(decoder.guidance, (g4, g5), strict=True)]
    logits = []
    for index in range(t):
        y = x[:, index].transpose(1, 2).reshape(b, c, 5, 5)
        for stage, g in zip(decoder.stages, guidance, strict=True):
            y = plain_stage(stage, y, g)
        logits.append(decoder.head(y))
    return torch.cat(logits, dim=1)


def inputs() -> list[torch.Tensor]:
    shapes = ((2, 3, 25, 20), (2, 6, 10, 10), (2, 5, 20, 20))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_transposed_convolution_and_convolution_fold_into_one():
    """Every output pixel, the border too, where the second convolution sees zeros and no bias."""
    stage = UpStage(8, 16, 3).double()
    x, guidance = torch.randn(1, 8, 4, 5, dtype=torch.float64), torch.randn(1, 3, 8, 10, dtype=torch.float64)
    prepared = stage.prepare(guidance)
    found = F.conv_transpose2d(x, prepared.up, stride=2, padding=1) + prepared.share
    expected = stage.conv1(torch.cat([stage.up(x), guidance], dim=1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_logits():
    decoder = random_decoder()
    x, g4, g5 = inputs()
    found = decoder(x, *decoder.prepare(g4, g5))
    assert found.shape == (2, 3, 20, 20)
    torch.testing.assert_close(found, plain_logits(decoder, x, g4, g5), rtol=1e-9, atol=1e-9)


def test_gradients():
    decoder = random_decoder()
    tensors = [*inputs(), *decoder.parameters()]
    x, g4, g5 = tensors[:3]
    weights = torch.randn(2, 3, 20, 20, dtype=torch.float64)
    found = torch.autograd.grad((decoder(x, *decoder.prepare(g4, g5)) * weights).sum(), tensors)
    expected = torch.autograd.grad((plain_logits(decoder, x, g4, g5) * weights).sum(), tensors)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)
