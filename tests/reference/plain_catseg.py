"""CAT-Seg (CVPR'24 design) computed the plain way: the reference that physseg's fast formulation must equal.

Every step is written as the published design states it: guidance repeated for every class and concatenated, class
attention padded to 256 tokens, all 77 text tokens, layouts shuffled between (B C T H W), tokens and windows. Nothing
is shared with physseg, so an error there cannot hide here. Parameter names are the published ones: a published
state dict loads as it is.

B images, T classes, P templates, H W token grid, C channels.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class PlainConfig:
    """Sizes of one CLIP variant; the defaults are ViT-B/16 at 384 pixels."""

    image_size: int = 384
    patch: int = 16
    native_grid: int = 14
    width: int = 768
    layers: int = 12
    heads: int = 12
    levels: tuple[int, int] = (3, 7)
    embed: int = 512
    text_width: int = 512
    text_layers: int = 12
    text_heads: int = 8
    quick_gelu: bool = True
    templates: int = 1
    dim: int = 128
    window: int = 12
    pad_classes: int = 256

    @property
    def grid(self) -> int:
        return self.image_size // self.patch


VIT_B16 = PlainConfig()
VIT_L14 = PlainConfig(336, 14, 24, 1024, 24, 16, (7, 15), 768, 768, 12, 12)
VIT_H14 = PlainConfig(336, 14, 16, 1280, 32, 16, (10, 20), 1024, 1024, 24, 16, quick_gelu=False)


class SplitAttention(nn.Module):
    """Multi-head attention with separate projections and one packed bias, as the published checkpoints store it."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.q_proj_weight = nn.Parameter(torch.empty(width, width))
        self.k_proj_weight = nn.Parameter(torch.empty(width, width))
        self.v_proj_weight = nn.Parameter(torch.empty(width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        batch, length, width = x.shape
        bias_q, bias_k, bias_v = self.in_proj_bias.chunk(3)
        q = F.linear(x, self.q_proj_weight, bias_q).view(batch, length, self.heads, -1).transpose(1, 2)
        k = F.linear(x, self.k_proj_weight, bias_k).view(batch, length, self.heads, -1).transpose(1, 2)
        v = F.linear(x, self.v_proj_weight, bias_v).view(batch, length, self.heads, -1).transpose(1, 2)
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
        if mask is not None:
            scores = scores + mask
        return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width))

    def values_only(self, x: Tensor) -> Tensor:
        return self.out_proj(F.linear(x, self.v_proj_weight, self.in_proj_bias.chunk(3)[2]))


class Activation(nn.Module):
    def __init__(self, quick: bool):
        super().__init__()
        self.quick = quick

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x) if self.quick else F.gelu(x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, quick: bool):
        super().__init__()
        self.attn = SplitAttention(width, heads)
        self.ln_1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", Activation(quick))
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))

    def dense(self, x: Tensor) -> Tensor:
        v = self.attn.values_only(self.ln_1(x)) + x[:, :1]
        return v + self.mlp(self.ln_2(v))


class Transformer(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, quick: bool):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads, quick) for _ in range(layers))


class Visual(nn.Module):
    def __init__(self, c: PlainConfig):
        super().__init__()
        self.c = c
        self.conv1 = nn.Conv2d(3, c.width, c.patch, c.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(c.width))
        self.positional_embedding = nn.Parameter(torch.empty(c.native_grid**2 + 1, c.width))
        self.ln_pre = nn.LayerNorm(c.width)
        self.transformer = Transformer(c.width, c.layers, c.heads, c.quick_gelu)
        self.ln_post = nn.LayerNorm(c.width)
        self.proj = nn.Parameter(torch.empty(c.width, c.embed))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        c = self.c
        x = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], dim=1)
        native = self.positional_embedding[1:].T.reshape(1, c.width, c.native_grid, c.native_grid)
        resized = F.interpolate(native, size=(c.grid, c.grid), mode="bicubic", align_corners=False)
        x = x + torch.cat([self.positional_embedding[:1], resized[0].flatten(1).T])
        x = self.ln_pre(x)
        levels = []
        for index, block in enumerate(self.transformer.resblocks[:-1]):
            x = block(x)
            if index in c.levels:
                levels.append(x[:, 1:].transpose(1, 2).reshape(-1, c.width, c.grid, c.grid))
        x = self.ln_post(self.transformer.resblocks[-1].dense(x)) @ self.proj
        return x[:, 1:].transpose(1, 2).reshape(-1, c.embed, c.grid, c.grid), levels


class PlainClip(nn.Module):
    def __init__(self, c: PlainConfig):
        super().__init__()
        self.visual = Visual(c)
        self.transformer = Transformer(c.text_width, c.text_layers, c.text_heads, c.quick_gelu)
        self.token_embedding = nn.Embedding(49408, c.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(77, c.text_width))
        self.ln_final = nn.LayerNorm(c.text_width)
        self.text_projection = nn.Parameter(torch.empty(c.text_width, c.embed))
        self.logit_scale = nn.Parameter(torch.empty(()))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(N, 77) token ids -> (N, E)."""
        x = self.token_embedding(tokens) + self.positional_embedding
        mask = torch.full((77, 77), -math.inf, dtype=x.dtype).triu(1)
        for block in self.transformer.resblocks:
            x = block(x, mask)
        x = self.ln_final(x)[torch.arange(len(x)), tokens.argmax(1)]
        return x @ self.text_projection


def to_windows(x: Tensor, size: int) -> Tensor:
    """(N, H, W, C) -> (N * windows, size * size, C)."""
    n, h, w, c = x.shape
    x = x.view(n, h // size, size, w // size, size, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, size * size, c)


def from_windows(x: Tensor, size: int, h: int, w: int) -> Tensor:
    """Inverse of `to_windows`."""
    x = x.view(-1, h // size, w // size, size, size, x.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(-1, h, w, x.shape[-1])


def shift_mask(grid: int, window: int, shift: int) -> Tensor:
    """(windows, window^2, window^2): -100 between tokens that were not neighbours before the cyclic shift."""
    region = torch.zeros(1, grid, grid, 1)
    bounds = ((0, grid - window), (grid - window, grid - shift), (grid - shift, grid))
    for i, (top, bottom) in enumerate(bounds):
        for j, (left, right) in enumerate(bounds):
            region[:, top:bottom, left:right] = 3 * i + j
    region = to_windows(region, window).squeeze(-1)
    return (region[:, None] != region[:, :, None]).float() * -100.0


class WindowAttention(nn.Module):
    def __init__(self, dim: int, guidance: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.dim = dim
        self.q = nn.Linear(dim + guidance, dim)
        self.k = nn.Linear(dim + guidance, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        n, length, _ = x.shape
        q = self.q(x).view(n, length, self.heads, -1).transpose(1, 2)
        k = self.k(x).view(n, length, self.heads, -1).transpose(1, 2)
        v = self.v(x[..., : self.dim]).view(n, length, self.heads, -1).transpose(1, 2)
        scores = q * (self.dim // self.heads) ** -0.5 @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores + mask.repeat(n // len(mask), 1, 1).unsqueeze(1)
        return self.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, self.dim))


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    def __init__(self, c: PlainConfig, shift: int):
        super().__init__()
        self.grid, self.window, self.shift = c.grid, c.window, shift
        self.norm1 = nn.LayerNorm(c.dim)
        self.attn = WindowAttention(c.dim, c.dim)
        self.norm2 = nn.LayerNorm(c.dim)
        self.mlp = Mlp(c.dim)
        if shift:
            self.register_buffer("attn_mask", shift_mask(c.grid, c.window, shift))
        else:
            self.attn_mask = None

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        """x, guidance: (N, H * W, C)."""
        n, _, dim = x.shape
        y = torch.cat([self.norm1(x), guidance], dim=-1).view(n, self.grid, self.grid, -1)
        y = torch.roll(y, (-self.shift, -self.shift), dims=(1, 2))
        y = self.attn(to_windows(y, self.window), self.attn_mask)
        y = from_windows(y, self.window, self.grid, self.grid)
        x = x + torch.roll(y, (self.shift, self.shift), dims=(1, 2)).reshape(n, -1, dim)
        return x + self.mlp(self.norm2(x))


class SpatialAggregation(nn.Module):
    def __init__(self, c: PlainConfig):
        super().__init__()
        self.block_1 = SwinBlock(c, 0)
        self.block_2 = SwinBlock(c, c.window // 2)
        self.guidance_norm = nn.LayerNorm(c.dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        b, dim, t, h, w = x.shape
        tokens = x.permute(0, 2, 3, 4, 1).reshape(b * t, h * w, dim)
        g = self.guidance_norm(guidance.flatten(2).transpose(1, 2)).repeat_interleave(t, dim=0)
        tokens = self.block_2(self.block_1(tokens, g), g)
        return tokens.view(b, t, h, w, dim).permute(0, 4, 1, 2, 3)


class LinearAttention(nn.Module):
    def __init__(self, dim: int, guidance: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim + guidance, dim)
        self.k = nn.Linear(dim + guidance, dim)
        self.v = nn.Linear(dim, dim)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        n, length, dim = x.shape
        both = torch.cat([x, guidance], dim=-1)
        q = F.elu(self.q(both)).view(n, length, self.heads, -1) + 1
        k = F.elu(self.k(both)).view(n, length, self.heads, -1) + 1
        v = self.v(x).view(n, length, self.heads, -1) / length
        kv = torch.einsum("nlhd,nlhe->nhde", k, v)
        z = 1 / (torch.einsum("nlhd,nhd->nlh", q, k.sum(1)) + 1e-6)
        return (torch.einsum("nlhd,nhde,nlh->nlhe", q, kv, z) * length).reshape(n, length, dim)


class ClassAggregation(nn.Module):
    def __init__(self, c: PlainConfig):
        super().__init__()
        self.pad_classes = c.pad_classes
        self.padding_tokens = nn.Parameter(torch.empty(1, 1, c.dim))
        self.padding_guidance = nn.Parameter(torch.empty(1, 1, c.dim))
        self.attention = LinearAttention(c.dim, c.dim)
        self.MLP = nn.Sequential(nn.Linear(c.dim, 4 * c.dim), nn.ReLU(), nn.Linear(4 * c.dim, c.dim))
        self.norm1 = nn.LayerNorm(c.dim)
        self.norm2 = nn.LayerNorm(c.dim)

    def forward(self, x: Tensor, guidance: Tensor, pooling: tuple[int, int]) -> Tensor:
        b, dim, t, h, w = x.shape
        pooled = F.avg_pool3d(x, (1, *pooling), (1, *pooling))
        ph, pw = pooled.shape[-2:]
        missing = max(self.pad_classes - t, 0)
        padding = self.padding_tokens.view(1, dim, 1, 1, 1).expand(b, -1, missing, ph, pw)
        tokens = torch.cat([pooled, padding], dim=2).permute(0, 3, 4, 2, 1).reshape(b * ph * pw, -1, dim)
        guidance = torch.cat([guidance, self.padding_guidance.expand(b, missing, -1)], dim=1)
        guidance = guidance.repeat_interleave(ph * pw, dim=0)
        tokens = tokens + self.attention(self.norm1(tokens), guidance)
        tokens = tokens + self.MLP(self.norm2(tokens))
        tokens = tokens[:, :t].view(b, ph, pw, t, dim).permute(0, 3, 4, 1, 2).reshape(b * t, dim, ph, pw)
        tokens = F.interpolate(tokens, size=(h, w), mode="bilinear", align_corners=True)
        return x + tokens.view(b, t, dim, h, w).transpose(1, 2)


class AggregationLayer(nn.Module):
    def __init__(self, c: PlainConfig):
        super().__init__()
        self.swin_block = SpatialAggregation(c)
        self.attention = ClassAggregation(c)

    def forward(self, x: Tensor, image_guidance: Tensor, text_guidance: Tensor, pooling: tuple[int, int]) -> Tensor:
        return self.attention(self.swin_block(x, image_guidance), text_guidance, pooling)


class DoubleConv(nn.Module):
    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, padding=1, bias=False),
            nn.GroupNorm(channels // 16, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.GroupNorm(channels // 16, channels),
            nn.ReLU(),
        )


class Up(nn.Module):
    def __init__(self, channels_in: int, channels: int, guidance: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels_in, channels_in - guidance, 2, 2)
        self.conv = DoubleConv(channels_in, channels)

    def forward(self, x: Tensor, guidance: Tensor) -> Tensor:
        x = self.up(x)
        guidance = guidance.repeat_interleave(len(x) // len(guidance), dim=0)
        return self.conv.double_conv(torch.cat([x, guidance], dim=1))


class Aggregator(nn.Module):
    def __init__(self, c: PlainConfig):
        super().__init__()
        self.pad_classes = c.pad_classes
        self.layers = nn.ModuleList(AggregationLayer(c) for _ in range(2))
        self.conv1 = nn.Conv2d(c.templates, c.dim, 7, padding=3)
        self.guidance_projection = nn.Sequential(nn.Conv2d(c.embed, c.dim, 3, padding=1), nn.ReLU())
        self.text_guidance_projection = nn.Sequential(nn.Linear(c.embed, c.dim), nn.ReLU())
        self.decoder_guidance_projection = nn.ModuleList(
            nn.Sequential(nn.Conv2d(i, o, 3, padding=1), nn.ReLU()) for i, o in ((256, 32), (128, 16))
        )
        self.decoder1 = Up(c.dim, 64, 32)
        self.decoder2 = Up(64, 32, 16)
        self.head = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, dense: Tensor, g4: Tensor, g5: Tensor, text: Tensor, pooling: tuple[int, int]) -> Tensor:
        """dense (B, E, H, W), text (T, P, E) -> logits (B, T, 4H, 4W)."""
        b = len(dense)
        total = len(text)
        image = F.normalize(dense, dim=1)
        cost = torch.einsum("bchw,tpc->bpthw", image, F.normalize(text, dim=-1))
        text = text.expand(b, *text.shape)
        classes = None
        if total > self.pad_classes:
            likelihood = cost.amax(dim=(1, 3, 4))
            classes = likelihood.topk(self.pad_classes, dim=-1, sorted=False).indices
            cost = torch.stack([cost[i][:, classes[i]] for i in range(b)])
            text = torch.stack([text[i][classes[i]] for i in range(b)])
        _, p, t, h, w = cost.shape
        x = self.conv1(cost.transpose(1, 2).reshape(b * t, p, h, w)).view(b, t, -1, h, w).transpose(1, 2)
        image_guidance = self.guidance_projection(dense)
        text_guidance = self.text_guidance_projection(F.normalize(text.mean(2), dim=-1))
        for layer in self.layers:
            x = layer(x, image_guidance, text_guidance, pooling)
        x = x.transpose(1, 2).reshape(b * t, -1, h, w)
        x = self.decoder1(x, self.decoder_guidance_projection[0](g4))
        x = self.decoder2(x, self.decoder_guidance_projection[1](g5))
        logits = self.head(x).view(b, t, 4 * h, 4 * w)
        if classes is None:
            return logits
        full = torch.full((b, total, 4 * h, 4 * w), -100.0, dtype=logits.dtype)
        for i in range(b):
            full[i, classes[i]] = logits[i]
        return full


class Holder(nn.Module):
    """Gives parameters their published prefixes."""


class PlainCATSeg(nn.Module):
    """The whole baseline; `forward` takes tokens instead of words so that it needs no tokeniser."""

    mean = (122.7709383, 116.7460125, 104.09373615)
    std = (68.5005327, 66.6321579, 70.3231630)

    def __init__(self, config: PlainConfig = VIT_B16):
        super().__init__()
        self.config = config
        self.sem_seg_head = Holder()
        self.sem_seg_head.predictor = Holder()
        self.sem_seg_head.predictor.clip_model = PlainClip(config)
        self.sem_seg_head.predictor.transformer = Aggregator(config)
        self.upsample1 = nn.ConvTranspose2d(config.width, 256, 2, 2)
        self.upsample2 = nn.ConvTranspose2d(config.width, 128, 4, 4)

    def text_features(self, tokens: Tensor) -> Tensor:
        """(T, P, 77) token ids -> (T, P, E), L2 norm 1."""
        t, p, _ = tokens.shape
        clip = self.sem_seg_head.predictor.clip_model
        return F.normalize(clip.encode_text(tokens.flatten(0, 1)), dim=-1).view(t, p, -1)

    def normalise(self, images: Tensor) -> Tensor:
        mean = torch.tensor(self.mean, dtype=images.dtype).view(3, 1, 1)
        std = torch.tensor(self.std, dtype=images.dtype).view(3, 1, 1)
        return (images - mean) / std

    def dense_features(self, normalised: Tensor) -> tuple[Tensor, list[Tensor]]:
        size = self.config.image_size
        resized = F.interpolate(normalised, size=(size, size), mode="bilinear", align_corners=False)
        return self.sem_seg_head.predictor.clip_model.visual(resized)

    def logits(self, normalised: Tensor, text: Tensor, pooling: tuple[int, int]) -> Tensor:
        dense, (level1, level2) = self.dense_features(normalised)
        return self.sem_seg_head.predictor.transformer(
            dense, self.upsample1(level1), self.upsample2(level2), text, pooling
        )

    def pad(self, normalised: Tensor) -> Tensor:
        h, w = normalised.shape[-2:]
        return F.pad(normalised, (0, -w % 32, 0, -h % 32))

    def plain(self, image: Tensor, text: Tensor, height: int, width: int) -> Tensor:
        """RGB 0-255 (3, h, w) -> probabilities (T, height, width)."""
        logits = self.logits(self.pad(self.normalise(image[None])), text, (1, 1))
        return F.interpolate(logits.sigmoid(), size=(height, width), mode="bilinear", align_corners=False)[0]

    def sliding(self, image: Tensor, text: Tensor, height: int, width: int) -> Tensor:
        """The same with four crops of 384 over a 640x640 squash and the whole image."""
        canvas = F.interpolate(image[None], size=(640, 640), mode="bilinear", align_corners=False)
        crops = [canvas[..., y : y + 384, x : x + 384] for y in (0, 256) for x in (0, 256)]
        whole = F.interpolate(image[None], size=(384, 384), mode="bilinear", align_corners=False)
        logits = self.logits(self.normalise(torch.cat([*crops, whole])), text, (1, 1))
        probabilities = F.interpolate(logits, size=(384, 384), mode="bilinear", align_corners=False).sigmoid()
        total = torch.zeros(1, len(text), 640, 640, dtype=image.dtype)
        count = torch.zeros(1, 1, 640, 640, dtype=image.dtype)
        for index, (y, x) in enumerate((y, x) for y in (0, 256) for x in (0, 256)):
            total[..., y : y + 384, x : x + 384] += probabilities[index]
            count[..., y : y + 384, x : x + 384] += 1
        whole = F.interpolate(probabilities[-1:], size=(640, 640), mode="bilinear", align_corners=False)
        merged = (total / count + whole) / 2
        return F.interpolate(merged, size=(height, width), mode="bilinear", align_corners=False)[0]

    def loss(self, images: Tensor, tokens: Tensor, labels: Tensor, pooling: tuple[int, int] = (2, 2)) -> Tensor:
        """Binary cross-entropy; an ignored pixel (255) has an all-zero target. Labels (B, h, w)."""
        logits = self.logits(self.pad(self.normalise(images)), self.text_features(tokens), pooling)
        logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
        target = F.one_hot(labels.clamp(max=logits.shape[1]), logits.shape[1] + 1)[..., :-1]
        return F.binary_cross_entropy_with_logits(logits, target.permute(0, 3, 1, 2).to(logits.dtype))
