"""Cost aggregation: spatial (Swin) and class (linear) attention over the cost volume, guided by image and text.

Tokens stay (B, T, N, C) all the way; a linear layer over [features, guidance] is split into its two halves, and the
guidance half, equal for all classes of an image (or all positions of a class), is computed once and added.

B images, T classes, P prompt templates, N = H * W positions, C channels, G guidance channels, L tokens of a window.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physseg.modeling.catseg.linear import elu_plus_one, gelu, linear, plus_linear, plus_mlp
from physseg.modeling.chunks import map_chunks, recomputed
from physseg.modeling.clip.attention import attention

# The published design adds -100. Weights of exp(-100) vanish in the sums, but they are subnormal numbers, with which a
# CPU multiplies many times slower (3x on the whole attention's backward pass); exp(-1000) is exactly zero.
_MASKED = -1000.0

# With up to this many templates the cost volume is embedded as a product over 7x7 patches: libraries' convolutions of
# few channels are slow, backwards above all. With more, patches cost time and 49 times the volume's memory.
_PATCHES_UP_TO = 4


class SpatialBlock(nn.Module):
    """One Swin block with guided queries and keys; tokens come in window order."""

    def __init__(self, dim: int, guidance_dim: int, heads: int):
        super().__init__()
        self.dim, self.heads = dim, heads
        self.norm1 = nn.LayerNorm(dim)
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def guidance_terms(self, guidance: Tensor) -> Tensor:
        """What guidance and biases add to [q, k, v]: (B, N, G) -> (B, 1, N, 3C)."""
        # W [x, g] + b = W_x x + (W_g g + b): the bracket does not depend on the class.
        q = F.linear(guidance, self.q.weight[:, self.dim :], self.q.bias)
        k = F.linear(guidance, self.k.weight[:, self.dim :], self.k.bias)
        return torch.cat([q, k, self.v.bias.to(q.dtype).expand_as(q)], dim=-1).unsqueeze(1)

    def forward(self, x: Tensor, terms: Tensor, mask: Tensor | None, window: int, run: Callable[..., Tensor]) -> Tensor:
        """One block.

        Args:
            x: (B, T, N, C) in window order.
            terms: `guidance_terms`.
            mask: (N / L, 1, L, L) additive or None.
            window: side of a window; L is its square.
            run: how what stands before and after attention is called: `recomputed` or `_plainly`.
        """
        b, t, _, c = x.shape
        # (B, T, N, 3C) -> three of (B * T * windows, L, heads, C / heads), views
        qkv = run(self._project, x, terms).view(-1, window * window, 3, self.heads, c // self.heads).unbind(2)
        if mask is not None:
            mask = mask.to(qkv[0].dtype).expand(b * t, *mask.shape).flatten(0, 1)
        out = attention(*(z.transpose(1, 2) for z in qkv), mask)
        return run(self._merge, x, out)

    def _project(self, x: Tensor, terms: Tensor) -> Tensor:
        weight = torch.cat([self.q.weight[:, : self.dim], self.k.weight[:, : self.dim], self.v.weight])
        return F.linear(self.norm1(x), weight).add_(terms)

    def _merge(self, x: Tensor, out: Tensor) -> Tensor:
        x = plus_linear(x, out.transpose(1, 2).reshape(x.shape), self.proj)
        return plus_mlp(x, self.norm2, self.fc1, gelu, self.fc2)


class SpatialAggregation(nn.Module):
    """Two Swin blocks over the grid of every class, the second with shifted windows.

    The backward pass computes all but attention again: q, k, v and attention's output are the dearest for their size.
    With `recompute` it computes everything again.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int, grid: int, window: int, recompute: bool):
        super().__init__()
        self.window, self.recompute = window, recompute
        self.guidance_norm = nn.LayerNorm(guidance_dim)
        self.blocks = nn.ModuleList(SpatialBlock(dim, guidance_dim, heads) for _ in range(2))
        rows = torch.arange(grid * grid).view(grid, grid)
        shift = window // 2 if grid > window else 0
        plain, shifted = _windows(rows, window), _windows(rows.roll((-shift, -shift), (0, 1)), window)
        from_plain, from_shifted = plain.argsort(), shifted.argsort()
        # Tokens are gathered from rows to windows, to shifted windows, and back: three gathers instead of a
        # partition, a roll and their inverses around each attention.
        indices = {
            "plain": plain,
            "from_plain": from_plain,
            "shifted": shifted,
            "from_shifted": from_shifted,
            "hop": from_plain[shifted],
            "from_hop": from_shifted[plain],
        }
        for name, index in indices.items():
            self.register_buffer(name, index, persistent=False)
        mask = shift_mask(grid, window, shift) if shift else None
        self.register_buffer("mask", mask, persistent=False)

    def guidance_terms(self, guidance: Tensor) -> tuple[Tensor, Tensor]:
        """Both blocks' guidance terms from the projected guidance (B, N, G)."""
        guidance = self.guidance_norm(guidance)
        first, second = self.blocks
        return first.guidance_terms(guidance[:, self.plain]), second.guidance_terms(guidance[:, self.shifted])

    def forward(self, x: Tensor, first_terms: Tensor, second_terms: Tensor) -> Tensor:
        """(B, T, N, C) -> (B, T, N, C), positions in row order."""
        if self.recompute:
            return recomputed(partial(self._run, _plainly), x, first_terms, second_terms)
        return self._run(recomputed, x, first_terms, second_terms)

    def _run(self, run: Callable[..., Tensor], x: Tensor, first_terms: Tensor, second_terms: Tensor) -> Tensor:
        first, second = self.blocks
        x = first(_Reorder.apply(x, self.plain, self.from_plain), first_terms, None, self.window, run)
        x = second(_Reorder.apply(x, self.hop, self.from_hop), second_terms, self.mask, self.window, run)
        return _Reorder.apply(x, self.from_shifted, self.shifted)


class _Reorder(torch.autograd.Function):
    """x[:, :, index]; the gradient is gathered by the inverse, where a gather's own backward pass scatters and adds."""

    @staticmethod
    def forward(ctx, x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return x.index_select(2, index)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(2, *ctx.saved_tensors), None, None


class ClassAggregation(nn.Module):
    """Linear attention among the classes at every position, as if padded to `max_classes` learnable tokens.

    With `max_classes` 0 there is no padding and no parameter for it.
    """

    def __init__(self, dim: int, guidance_dim: int, heads: int, max_classes: int, recompute: bool = False):
        super().__init__()
        self.dim, self.heads, self.max_classes = dim, heads, max_classes
        self.recompute = recompute
        if max_classes:
            self.padding_token = nn.Parameter(torch.zeros(dim))
            self.padding_guidance = nn.Parameter(torch.zeros(guidance_dim))
        self.norm1 = nn.LayerNorm(dim)
        self.q = nn.Linear(dim + guidance_dim, dim)
        self.k = nn.Linear(dim + guidance_dim, dim)
        self.v = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)
        # Which head a channel belongs to (C, heads), and which pairs of channels belong to one head (C, C).
        head_of = torch.block_diag(*[torch.ones(dim // heads, 1)] * heads)
        self.register_buffer("head_of", head_of, persistent=False)
        self.register_buffer("same_head", head_of @ head_of.T, persistent=False)
        # Takes the module as an argument, so that a copy of the module uses its own weights.
        self._run_slice = ClassAggregation._attend

    def compile(self, **options) -> None:
        """Compile the work on a slice of positions; the loop over slices stays outside."""
        self._run_slice = torch.compile(ClassAggregation._attend, **options)

    def forward(self, x: Tensor, guidance: Tensor, grid: int, pooling: tuple[int, int], chunk: int) -> Tensor:
        """(B, T, N, C) -> (B, T, N, C).

        Args:
            guidance: (B or 1, T, G) projected text guidance.
            grid: H = W.
            pooling: the grid is average-pooled by this first.
            chunk: positions worked on at a time.
        """
        b, t, _, c = x.shape
        # The guidance half of the linear layer, once per class: (B or 1, T, 1, C) each.
        terms_q = F.linear(guidance, self.q.weight[:, c:], self.q.bias).unsqueeze(2)
        terms_k = F.linear(guidance, self.k.weight[:, c:], self.k.bias).unsqueeze(2)
        pad_keys, pad_values = self._padding_sums(max(self.max_classes - t, 0))
        args = (terms_q, terms_k, pad_keys, pad_values)
        add_input = tuple(pooling) == (1, 1)
        run = partial(recomputed if self.recompute else _plainly, self._run_slice, self, add_input)
        if add_input:
            return map_chunks(run, x, 2, chunk, *args)
        # Tokens of a grid are a channels_last image: no copy is needed around pooling and interpolation.
        image = F.avg_pool2d(x.reshape(b * t, grid, grid, c).permute(0, 3, 1, 2), pooling)
        size = image.shape[2:]
        pooled = image.permute(0, 2, 3, 1).reshape(b, t, -1, c)
        pooled = map_chunks(run, pooled, 2, chunk, *args)
        image = pooled.view(b * t, *size, c).permute(0, 3, 1, 2)
        image = F.interpolate(image, size=(grid, grid), mode="bilinear", align_corners=True)
        return x + image.permute(0, 2, 3, 1).reshape(b, t, -1, c)

    def _padding_sums(self, count: int) -> tuple[Tensor, Tensor]:
        """What `count` padding tokens add to the sums over classes: of keys (C,), of key-value products (C, C)."""
        if not self.max_classes:
            zero = self.same_head.new_zeros(())
            return zero, zero
        # All padding tokens are equal at every position, and their own output is dropped: a constant is all they add.
        y = self.norm1(self.padding_token)
        key = F.elu(self.k(torch.cat([y, self.padding_guidance.to(y.dtype)]))) + 1
        # Single precision, but for a model in double.
        dtype = torch.promote_types(key.dtype, torch.float32)
        key, value = key.to(dtype), self.v(y).to(dtype)
        return count * key, count * torch.outer(key, value) * self.same_head

    def _attend(
        self, add_input: bool, x: Tensor, terms_q: Tensor, terms_k: Tensor, pad_keys: Tensor, pad_values: Tensor
    ) -> Tensor:
        """Attention and MLP with their residuals at a slice of positions: (B, T, n, C) -> (B, T, n, C)."""
        c, tokens = x.shape[-1], x
        y = self.norm1(x)
        q = elu_plus_one(F.linear(y, self.q.weight[:, :c]).add_(terms_q))
        k = elu_plus_one(F.linear(y, self.k.weight[:, :c]).add_(terms_k))
        v = linear(y, self.v)
        # Batches of positions: (B, n, T, C). Dividing values by the length and multiplying it back cancels.
        q, k, v = (z.transpose(1, 2) for z in (q, k, v))
        # One C x C product with other heads' blocks zeroed: larger products than a head's own run faster.
        key_values = (k.transpose(-1, -2) @ v * self.same_head + pad_values).to(q.dtype)
        # The sum over classes in single precision at least, as the padding's.
        keys = k.sum(2, dtype=pad_keys.dtype) + pad_keys
        # The sum over a head's channels, one number a head: (B, n, T, heads).
        norm = q @ (keys.unsqueeze(-1) * self.head_of).to(q.dtype) + 1e-6
        out = (q @ key_values).unflatten(-1, (self.heads, -1)) / norm.unsqueeze(-1)
        x = x + out.flatten(-2).transpose(1, 2)
        x = plus_mlp(x, self.norm2, self.fc1, F.relu_, self.fc2)
        return tokens + x if add_input else x


class AggregationLayer(nn.Module):
    """Spatial, then class aggregation."""

    def __init__(
        self, dim: int, guidance_dim: int, heads: int, grid: int, window: int, max_classes: int, recompute: bool
    ):
        super().__init__()
        self.spatial = SpatialAggregation(dim, guidance_dim, heads, grid, window, recompute)
        self.classes = ClassAggregation(dim, guidance_dim, heads, max_classes, recompute)


class CostAggregation(nn.Module):
    """Embeds the cost volume and aggregates it: (B, T, P, H, W) -> tokens (B, T, N, C).

    Args:
        templates: P.
        image_dim, text_dim: channels of the image and text guidance.
        grid: H = W; window: side of a Swin window, a divisor of it.
        max_classes: class attention is padded to this many tokens; 0: not padded.
        recompute: compute everything again in the backward pass, not only what is cheap for its size.

    Raises:
        ValueError: the window does not divide the grid.
    """

    def __init__(
        self,
        templates: int,
        image_dim: int,
        text_dim: int,
        grid: int,
        dim: int = 128,
        guidance_dim: int = 128,
        layers: int = 2,
        heads: int = 4,
        window: int = 12,
        max_classes: int = 256,
        recompute: bool = False,
    ):
        super().__init__()
        if grid % window:
            raise ValueError(
                f"MODEL.AGGREGATION.WINDOW: expected a divisor of the token grid {grid} "
                f"(MODEL.CLIP.IMAGE_SIZE over the patch size), got {window}"
            )
        self.grid, self.dim = grid, dim
        self.embed = nn.Conv2d(templates, dim, 7, padding=3)
        self.image_guidance = nn.Conv2d(image_dim, guidance_dim, 3, padding=1)
        self.text_guidance = nn.Linear(text_dim, guidance_dim)
        self.layers = nn.ModuleList(
            AggregationLayer(dim, guidance_dim, heads, grid, window, max_classes, recompute) for _ in range(layers)
        )

    def compile(self, **options) -> None:
        """Compile the work on slices."""
        for layer in self.layers:
            layer.spatial.compile(**options)
            layer.classes.compile(**options)

    def forward(
        self, cost: Tensor, image: Tensor, text: Tensor, pooling: tuple[int, int], class_chunk: int, position_chunk: int
    ) -> Tensor:
        """Aggregate.

        Args:
            cost: (B, T, P, H, W) similarities.
            image: (B, image_dim, H, W) guidance.
            text: (B or 1, T, P, E) text features.
            pooling: of class attention.
            class_chunk, position_chunk: worked on at a time.
        """
        guidance = F.relu(self.image_guidance(image)).flatten(2).transpose(1, 2)
        text = F.relu(self.text_guidance(F.normalize(text.mean(2), dim=-1)))
        x = cost
        for index, layer in enumerate(self.layers):
            step = layer.spatial if index else self._embed_and_aggregate
            x = map_chunks(step, x, 1, class_chunk, *layer.spatial.guidance_terms(guidance))
            x = layer.classes(x, text, self.grid, pooling, position_chunk)
        return x

    def embedded(self, cost: Tensor) -> Tensor:
        """The cost volume's embedding: (B, t, P, H, W) -> tokens (B, t, N, C)."""
        b, t = cost.shape[:2]
        cost = cost.flatten(0, 1)
        if cost.shape[1] > _PATCHES_UP_TO:
            x = self.embed(cost).flatten(2).transpose(1, 2)
        else:
            patches = F.unfold(cost, 7, padding=3).transpose(1, 2)
            x = F.linear(patches, self.embed.weight.flatten(1), self.embed.bias)
        return x.view(b, t, *x.shape[1:])

    def _embed_and_aggregate(self, cost: Tensor, *terms: Tensor) -> Tensor:
        """Embedding and the first spatial aggregation: (B, t, P, H, W) -> (B, t, N, C)."""
        return self.layers[0].spatial(self.embedded(cost), *terms)


def _plainly(function: Callable[..., Tensor], *args: Tensor) -> Tensor:
    return function(*args)


def _windows(rows: Tensor, window: int) -> Tensor:
    """Row indices (grid, grid) in window order: (grid * grid,)."""
    side = rows.shape[0] // window
    return rows.view(side, window, side, window).transpose(1, 2).flatten()


def shift_mask(grid: int, window: int, shift: int, value: float = _MASKED) -> Tensor:
    """(windows, 1, L, L): `value` between tokens that the cyclic shift brought together, else 0."""
    # After the shift, rows (and columns) beyond grid - shift came from the other side.
    side = (torch.arange(grid) >= grid - shift).long()
    region = _windows(2 * side[:, None] + side[None], window).view(-1, window * window)
    return (region[:, None, :, None] != region[:, None, None, :]) * value
