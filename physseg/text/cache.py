"""Text features kept between images, name by name."""

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from physseg.modeling.clip.encoder import ClipEncoder

# A-847 under 80 templates of ViT-L/14 takes 208 MB.
MOST_BYTES = 512 << 20


class TextCache:
    """Features of the vocabularies used last; a new vocabulary has only those names encoded that none of them holds.

    Everything is dropped as soon as a text weight, the templates, the device or autocast's type has changed. PyTorch
    counts in-place changes of a tensor (optimizer steps, `load_state_dict`); the counts of all text weights are
    remembered beside the features and compared at every look-up.

    Threads may share it. Features of a name can differ in their last bit with the names it was encoded beside.

    Args:
        most_bytes: what the kept vocabularies may take; the newest is kept whatever it takes.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        # Least recently used first.
        self._vocabularies: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        # Name -> its features, a view into those of a kept vocabulary.
        self._names: dict[str, Tensor] = {}
        self._state: tuple | None = None

    def __reduce__(self) -> tuple:
        """A copy of a model begins with an empty cache of its own; a lock cannot be copied."""
        return TextCache, (self._most_bytes,)

    def get(self, clip: "ClipEncoder", vocabulary: tuple[str, ...]) -> Tensor:
        """(T, P, E), without gradient."""
        device = clip.device
        dtype = torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None
        versions = (p._version for p in clip.text_parameters())
        state = (device, dtype, clip.templates, clip.synonym_policy, *versions)
        with self._lock:
            if state != self._state:
                self._clear()
                self._state = state
            if vocabulary not in self._vocabularies:
                self._keep(vocabulary, self._encode(clip, vocabulary))
            self._vocabularies.move_to_end(vocabulary)
            return self._vocabularies[vocabulary]

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._clear()

    def _clear(self) -> None:
        self._vocabularies.clear()
        self._names.clear()
        self._state = None

    @torch.no_grad()
    def _encode(self, clip: "ClipEncoder", vocabulary: tuple[str, ...]) -> Tensor:
        new = [name for name in vocabulary if name not in self._names]
        if len(new) == len(vocabulary):
            return clip.encode_text(vocabulary)
        known = self._names | (dict(zip(new, clip.encode_text(new), strict=True)) if new else {})
        return torch.stack([known[name] for name in vocabulary])

    def _keep(self, vocabulary: tuple[str, ...], features: Tensor) -> None:
        self._vocabularies[vocabulary] = features
        taken = sum(kept.numel() * kept.element_size() for kept in self._vocabularies.values())
        while taken > self._most_bytes and len(self._vocabularies) > 1:
            _, dropped = self._vocabularies.popitem(last=False)
            taken -= dropped.numel() * dropped.element_size()
        self._names = {
            name: row for names, kept in self._vocabularies.items() for name, row in zip(names, kept, strict=True)
        }
