"""Decoder: aggregated tokens and two guidance maps -> logits at four times the token grid.

Each stage of the published design is: transposed 2x2 convolution of stride 2, concatenation with guidance, 3x3
convolution, GroupNorm, ReLU, 3x3 convolution, GroupNorm, ReLU. No nonlinearity stands between the first two, so they
are one transposed 4x4 convolution; the guidance's share of the 3x3 convolution, equal for all classes, is computed
once per image and added, and so is the share of the transposed convolution's bias.

B images, t classes of a slice, N = H * W positions, C channels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StageInputs(NamedTuple):
    """What all classes share in a stage.

    up: (C_in, C, 4, 4) folded weight. share: (B, C, 2h, 2w) guidance's part. The rest: the stage's own parameters.
    """

    up: Tensor
    share: Tensor
    norm1_weight: Tensor
    norm1_bias: Tensor
    conv2: Tensor
    norm2_weight: Tensor
    norm2_bias: Tensor


class UpStage(nn.Module):
    """One upsampling stage; holds the published parameters and folds them on use.

    Args:
        channels_in: of the features.
        channels: of the output; GroupNorm has channels / 16 groups.
        guidance: channels of the guidance map.

    Raises:
        ValueError: the guidance leaves no channel for the features.
    """

    def __init__(self, channels_in: int, channels: int, guidance: int):
        super().__init__()
        if channels_in <= guidance:
            raise ValueError(
                "MODEL.AGGREGATION.DECODER_GUIDANCE_DIMS must be smaller than the channels they are joined to "
                f"(MODEL.AGGREGATION.DIM, then DECODER_DIMS[0]); got {guidance} for {channels_in}"
            )
        groups = max(channels // 16, 1)
        self.up = nn.ConvTranspose2d(channels_in, channels_in - guidance, 2, 2)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.norm1 = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(groups, channels)

    def prepare(self, guidance: Tensor) -> StageInputs:
        """Fold the weights and compute the guidance's share: (B, G, 2h, 2w) -> `StageInputs`."""
        weight = self.conv1.weight
        # The transposed convolution's bias is a constant map that ends at the border, as the guidance does.
        bias = self.up.bias.to(guidance.dtype).view(1, -1, 1, 1).expand(len(guidance), -1, *guidance.shape[2:])
        share = F.conv2d(torch.cat([bias, guidance], dim=1), weight, padding=1)
        share = share.contiguous(memory_format=torch.channels_last)
        # Upsampling writes tap p of input j to 2j + p, and tap u of the 3x3 convolution reads it for output
        # 2j + p - u + 1: a transposed convolution of kernel 4, stride 2, padding 1 with weight
        # sum over p - u + 2 = k of up[p] conv[u], itself a convolution of the two kernels.
        folded = F.conv2d(self.up.weight, weight[:, : self.up.out_channels], padding=2)
        norms = (self.norm1.weight, self.norm1.bias, self.conv2.weight, self.norm2.weight, self.norm2.bias)
        return StageInputs(folded, share, *norms)


class Decoder(nn.Module):
    """Two stages and a 3x3 convolution to one logit per class and pixel.

    Args:
        dim: channels of the tokens. dims: channels after each stage.
        upsampled: channels of the two guidance maps. guidance_dims: after their projection.
    """

    def __init__(
        self,
        dim: int = 128,
        dims: tuple[int, int] = (64, 32),
        upsampled: tuple[int, int] = (256, 128),
        guidance_dims: tuple[int, int] = (32, 16),
    ):
        super().__init__()
        self.guidance = nn.ModuleList(
            nn.Conv2d(i, o, 3, padding=1) for i, o in zip(upsampled, guidance_dims, strict=True)
        )
        self.stages = nn.ModuleList(
            UpStage(i, o, g) for i, o, g in zip((dim, dims[0]), dims, guidance_dims, strict=True)
        )
        self.head = nn.Conv2d(dims[1], 1, 3, padding=1)

    def prepare(self, g4: Tensor, g5: Tensor) -> tuple[Tensor, ...]:
        """What every class shares, from the guidance maps (B, C, 2H, 2W) and (B, C, 4H, 4W)."""
        stages = zip(self.stages, self.guidance, (g4, g5), strict=True)
        first, second = (stage.prepare(F.relu(project(g))) for stage, project, g in stages)
        return (*first, *second, self.head.weight, self.head.bias)

    def forward(self, x: Tensor, *prepared: Tensor) -> Tensor:
        """Logits of a slice of classes: (B, t, N, C) -> (B, t, 4H, 4W). `prepared` is `prepare`'s result."""
        b, t, _, c = x.shape
        size = len(StageInputs._fields)
        first, second = StageInputs(*prepared[:size]), StageInputs(*prepared[size : 2 * size])
        h, w = first.share.shape[2] // 2, first.share.shape[3] // 2
        # Tokens are a channels_last image already.
        y = x.reshape(b * t, h, w, c).permute(0, 3, 1, 2)
        y = _run_stage(y, first, self.stages[0].norm1.num_groups)
        y = _run_stage(y, second, self.stages[1].norm1.num_groups)
        return _conv_to_one(y, prepared[-2], prepared[-1]).view(b, t, 4 * h, 4 * w)


def _run_stage(x: Tensor, inputs: StageInputs, groups: int) -> Tensor:
    """(B * t, C_in, h, w) -> (B * t, C, 2h, 2w), channels_last."""
    y = F.conv_transpose2d(x, inputs.up, stride=2, padding=1)
    # Channels last on both sides of the sum, and of its gradient's sum over classes.
    y, share = y.permute(0, 2, 3, 1), inputs.share.to(y.dtype).permute(0, 2, 3, 1)
    y = (y.unflatten(0, (len(share), -1)) + share.unsqueeze(1)).flatten(0, 1).permute(0, 3, 1, 2)
    y = F.relu_(F.group_norm(y, groups, inputs.norm1_weight, inputs.norm1_bias))
    y = F.conv2d(y, inputs.conv2, padding=1)
    return F.relu_(F.group_norm(y, groups, inputs.norm2_weight, inputs.norm2_bias))


def _conv_to_one(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """3x3 convolution to one channel: (n, C, h, w) channels_last -> (n, 1, h, w).

    As a product that gives each pixel's nine contributions to its neighbours, summed where they fall: libraries
    handle a single output channel poorly.
    """
    n, c, h, w = x.shape
    # Pixel j adds tap u to output j - u + 1, and `fold` puts row k at j + k - 1: k = 2 - u.
    taps = weight.flip(2, 3).view(c, 9).T
    columns = taps @ x.permute(0, 2, 3, 1).reshape(n, h * w, c).transpose(1, 2)
    return F.fold(columns, (h, w), 3, padding=1) + bias.view(1, 1, 1, 1)
