"""Base of the models that segment an image by a protocol and keep what no word changes: CLIP alone, PACL, groups.

T classes, P prompt templates, E CLIP's embedding.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from detectron2.config import CfgNode
from torch import Tensor, nn

from physseg.data.overrides import config_of_dataset, overridden_datasets
from physseg.data.vocabularies import check_vocabulary
from physseg.modeling.build import configured_vocabulary
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.clip.statistics import configured_statistics
from physseg.modeling.inputs import group_by_vocabulary
from physseg.text.cache import TextCache

# Windows that go through the encoder together: a CPU is fastest with few, a GPU with many.
_WINDOWS_ON_CPU, _WINDOWS_ON_GPU = 2, 32


class ReadsConfig(Protocol):
    """A protocol: values that a number is stated beside, read from a config."""

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "ReadsConfig": ...


def configured_parts(cfg: CfgNode, protocol: type[ReadsConfig]) -> dict[str, Any]:
    """Arguments of a `ProtocolSegmenter` but its encoder.

    Raises:
        ValueError, FileNotFoundError: a vocabulary that cannot be read.
    """
    mean, std = configured_statistics(cfg)
    return {
        "vocabulary": configured_vocabulary(cfg),
        "pixel_mean": mean,
        "pixel_std": std,
        "protocol": protocol.from_config(cfg),
        "protocols": {name: protocol.from_config(config_of_dataset(cfg, name)) for name in overridden_datasets(cfg)},
    }


class ProtocolSegmenter(nn.Module):
    """Gives `predict` and `predict_encoded` to a model that has `encode_image` and `_predict`.

    Args:
        clip: its text encoder reads the words.
        vocabulary: names in use where an input carries none.
        pixel_mean, pixel_std: RGB, in 0-255 units.
        protocol: how an image is cut and scored. protocols: others, by the registered name of a data set, for inputs
            whose ``dataset`` it is.
    """

    def __init__(
        self,
        clip: ClipEncoder,
        vocabulary: Sequence[str],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        protocol: Any,
        protocols: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.clip = clip
        self.vocabulary = tuple(check_vocabulary(vocabulary))
        self.protocol, self.protocols = protocol, dict(protocols or {})
        self.text_cache = TextCache()
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def encode_image(self, x: dict[str, Any]) -> Any:
        """One test input as far as no word matters; for `predict_encoded`."""
        raise NotImplementedError

    def _predict(self, image: Any, names: Sequence[str], output: str, protocol: Any) -> dict[str, Tensor]:
        """The prediction of what `encode_image` gave."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def train(self, mode: bool = True) -> "ProtocolSegmenter":
        """Switch between training and evaluation; training drops the text features that evaluation keeps."""
        if mode:
            self.text_cache.clear()
        return super().train(mode)

    @torch.no_grad()
    def predict(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Predictions; see `forward`."""
        results: list[dict[str, Tensor]] = [{} for _ in batched_inputs]
        for names, indices in group_by_vocabulary(batched_inputs, self.vocabulary).items():
            for index in indices:
                x = batched_inputs[index]
                output = x.get("output", "probabilities")
                results[index] = self._predict(self.encode_image(x), names, output, self._protocol(x))
        return results

    @torch.no_grad()
    def predict_encoded(
        self, image: Any, vocabulary: Sequence[str] | None = None, output: str = "probabilities"
    ) -> dict[str, Tensor]:
        """The prediction of an encoded image by the model's own protocol: no image encoder runs.

        Args:
            image: of `encode_image`.
            vocabulary, output: as in `forward`'s inputs.
        """
        names = self.vocabulary if vocabulary is None else tuple(check_vocabulary(vocabulary))
        return self._predict(image, names, output, self.protocol)

    def text_features(self, vocabulary: Sequence[str]) -> Tensor:
        """(T, P, E) features of the names; kept until weights change."""
        return self.text_cache.get(self.clip, tuple(vocabulary))

    def _protocol(self, x: Mapping[str, Any]) -> Any:
        return self.protocols.get(x.get("dataset"), self.protocol)

    def _windows_at_once(self) -> int:
        return _WINDOWS_ON_CPU if self.device.type == "cpu" else _WINDOWS_ON_GPU

    def _normalise(self, image: Tensor) -> Tensor:
        # Single precision, but for a model in double.
        image = image.to(self.device, torch.promote_types(self.pixel_mean.dtype, torch.float32), non_blocking=True)
        return (image - self.pixel_mean) / self.pixel_std
