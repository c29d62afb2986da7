"""What the text encoder reads of a vocabulary, made once: tokens, or the prefix tree of its prompts, on the device.

Names and templates decide it; weights do not. A training step asks for the same vocabulary every time: tokenising 171
names and building their tree took 23 to 44 ms of the host, and each step then copied five tensors to the device.
"""

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from physseg.text.packed import PrefixTree, build_prefix_tree

# Training has one vocabulary. Evaluation keeps its features instead, so that few are asked for twice.
_MOST = 2


class PromptSets:
    """Tokens or prefix trees by vocabulary and device, the most recent ones."""

    def __init__(self) -> None:
        self._kept: dict[tuple, tuple[PrefixTree | Tensor, ...]] = {}

    def get(
        self,
        names: Hashable,
        device: torch.device,
        chunk: int,
        packed: bool,
        tokenize: Callable[[], Tensor],
    ) -> tuple[PrefixTree | Tensor, ...]:
        """The prompts of a vocabulary in parts of at most `chunk`; 0: in one.

        Args:
            names: all that decides the prompts.
            packed: as prefix trees; else as tokens (n, context).
            tokenize: tokens (N, context) of all prompts; called where they are not known.
        """
        key = (names, device, chunk, packed)
        kept = self._kept.get(key)
        if kept is None:
            tokens = tokenize()
            parts = tokens.split(chunk or len(tokens))
            kept = tuple((build_prefix_tree(part) if packed else part).to(device) for part in parts)
            # A new dict in one step: another thread meets the old or the new one.
            recent = list(self._kept.items())[-(_MOST - 1) :]
            self._kept = dict([*recent, (key, kept)])
        return kept
