"""Text features kept between images of one evaluation."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from physseg.modeling.clip.encoder import ClipEncoder

MAX_VOCABULARIES = 16


class TextCache:
    """Features by vocabulary, dropped as soon as a text weight has changed.

    PyTorch counts in-place changes of a tensor (optimizer steps, `load_state_dict`); the counts of all text weights
    are remembered beside the features and compared at every look-up.
    """

    def __init__(self) -> None:
        self._features: dict[tuple[str, ...], Tensor] = {}
        self._state: tuple | None = None

    def get(self, clip: "ClipEncoder", vocabulary: tuple[str, ...]) -> Tensor:
        """(T, P, E), without gradient."""
        dtype = torch.get_autocast_dtype(clip.device.type) if torch.is_autocast_enabled(clip.device.type) else None
        state = (clip.device, dtype, *(p._version for p in clip.text_parameters()))
        if state != self._state:
            self.clear()
            self._state = state
        if vocabulary not in self._features:
            if len(self._features) >= MAX_VOCABULARIES:
                self._features.pop(next(iter(self._features)))
            with torch.no_grad():
                self._features[vocabulary] = clip.encode_text(vocabulary)
        return self._features[vocabulary]

    def clear(self) -> None:
        self._features.clear()
        self._state = None
