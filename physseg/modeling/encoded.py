"""What an image gives before any word is known.

B images, E CLIP's embedding, H W token grid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from physseg.modeling.sliding_window import WindowPlan


class EncodedBatch(NamedTuple):
    """Images at CLIP's square size. dense: (B, E, H, W) CLIP's features. guidance: its maps g3, g4, g5 by name."""

    dense: Tensor
    guidance: Mapping[str, Tensor]


@dataclass(frozen=True)
class EncodedImage:
    """One image, or its windows, with all that its prediction needs but the words; made by `PhysSeg.encode_image`.

    It holds for the weights it was made with.

    parts: the image, or its windows in batches, the whole image last. plan: where the windows lie, None for plain
    inference. used: share of the height and width that is no padding. size: (height, width) of the prediction.
    """

    parts: tuple[EncodedBatch, ...]
    plan: WindowPlan | None
    used: tuple[float, float]
    size: tuple[int, int]
