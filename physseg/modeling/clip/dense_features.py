"""Every dense path by name, as one module: images of any size -> one feature per patch in the space of text features.

B images, H W token grid, E CLIP's embedding.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from physseg.modeling.clip import dense_paths
from physseg.modeling.clip.calibrated_paths import Levels, sc_clip, sfp
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.plain_tower import to_map
from physseg.modeling.clip.proxy_path import ProxyModel, proxyclip

# Functions of the last block and its input.
_BLOCK_PATHS: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {
    "clip": dense_paths.clip,
    **dense_paths.DENSE_PATHS,
    "sclip": dense_paths.sclip,
    "clearclip": dense_paths.clearclip,
}
# Functions of all blocks and some of their outputs.
_CALIBRATED_PATHS = {"sc_clip": sc_clip, "sfp": sfp}
METHODS = (*_BLOCK_PATHS, "naclip", *_CALIBRATED_PATHS, "proxyclip")
"""MODEL.DENSE.METHOD."""


class DenseFeatures(nn.Module):
    """Dense features of an encoder by one method.

    Args:
        encoder: its image tower is read; nothing of it is registered here.
        method: one of `METHODS`; a tower that ends in an attention pool (PE-Core, SigLIP 2) has "maskclip" alone.
        offset: of `resize_positions`; 0.1 as in the codes of NACLIP, SCLIP and SC-CLIP.
        outliers: of `sfp`.
        proxy: the other vision model, for "proxyclip".

    Raises:
        ValueError: an unknown method, or one that the encoder or its depth does not allow.
    """

    def __init__(
        self,
        encoder: ClipEncoder,
        method: str,
        offset: float = 0.1,
        outliers: str = "som",
        proxy: ProxyModel | None = None,
    ):
        super().__init__()
        if method not in METHODS:
            raise ValueError(f"MODEL.DENSE.METHOD: expected one of {METHODS}, got {method!r}")
        if encoder.pools and method != "maskclip":
            raise ValueError(
                f"MODEL.DENSE.METHOD: {encoder.name} ends in an attention pool, whose one dense path is 'maskclip'; "
                f"got {method!r}, which changes the last block of a plain CLIP"
            )
        if (method == "proxyclip") != (proxy is not None):
            raise ValueError(f"MODEL.DENSE.METHOD: 'proxyclip' needs a proxy model, and no other; got {method!r}")
        self.tower, self.method, self.offset, self.proxy = encoder.tower, method, offset, proxy
        self.levels: tuple[int, ...] = ()
        if method in _CALIBRATED_PATHS:
            if self.tower.depth < 4:
                raise ValueError(
                    f"MODEL.DENSE.METHOD: {method!r} needs 4 blocks, {encoder.name} has {self.tower.depth}"
                )
            self.levels = Levels.of(self.tower.depth).all
        self._calibrated = {"sc_clip": sc_clip, "sfp": partial(sfp, outliers=outliers)}

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, s, t), normalised for the encoder -> (B, E, H, W), not normalised.

        H and W are the tower's grid; with "proxyclip" the other model's.
        """
        tokens = self.tower.tokens(images, self.levels, self.offset)
        x, grid = tokens.last, tokens.grid
        if self.method in dense_paths.DENSE_PATHS:
            return to_map(self.tower.dense(self.method, x), grid, prefix=0)
        last = self.tower.blocks[-1]
        if self.method in self._calibrated:
            return to_map(self.tower.embed(self._calibrated[self.method](self.tower.blocks, tokens)), grid, prefix=0)
        if self.method == "proxyclip":
            proxy = self.proxy(images)
            return to_map(self.tower.embed(proxyclip(last, x, grid, proxy)), tuple(proxy.shape[-2:]), prefix=0)
        z = dense_paths.naclip(last, x, grid) if self.method == "naclip" else _BLOCK_PATHS[self.method](last, x)
        return to_map(self.tower.embed(z), grid)
