"""ClipSegmenter: segmentation from CLIP alone, without training. Beside `PhysSeg`, with the same inputs and outputs.

image -> windows -> dense features by a method -> cosine with the words -> class maps, refined where asked.

Q words, T classes, P prompt templates, E CLIP's embedding, H W token grid of a window.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.dense_protocol import DenseProtocol, segmenter_parts, training_free_features
from physseg.modeling.encoded import EncodedBatch, EncodedImage
from physseg.modeling.inputs import output_size
from physseg.modeling.pamr import affinity, pamr
from physseg.modeling.protocol_segmenter import ProtocolSegmenter
from physseg.modeling.sliding_window import merge_windows, plan_crops, split_windows
from physseg.modeling.word_prediction import word_prediction
from physseg.text.prompts import synonyms


@META_ARCH_REGISTRY.register()
class ClipSegmenter(ProtocolSegmenter):
    """Open-vocabulary segmentation by a training-free method. Nothing in it trains.

    Args:
        clip: encoder; its weights are all there is.
        features: the method, such as `DenseFeatures`: images (B, 3, s, t), normalised -> (B, E, H, W).
        vocabulary: names in use where an input carries none.
        pixel_mean, pixel_std: RGB, in 0-255 units.
        join_synonyms: every synonym of a name is a word of its own and the best one counts; else one text feature a
            name, as the encoder's synonym policy has it.
        protocol: how an image is cut, scored and refined.
        protocols: other protocols, by the registered name of a data set, for inputs whose ``dataset`` it is.
    """

    # Read by who would otherwise ask for a checkpoint.
    needs_training = False

    @configurable
    def __init__(
        self,
        *,
        clip: ClipEncoder,
        features: nn.Module,
        vocabulary: Sequence[str],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        join_synonyms: bool = True,
        protocol: DenseProtocol | None = None,
        protocols: Mapping[str, DenseProtocol] | None = None,
    ):
        super().__init__(clip, vocabulary, pixel_mean, pixel_std, protocol or DenseProtocol(), protocols)
        self.features = features
        self.join_synonyms = join_synonyms
        self.requires_grad_(False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        parts = segmenter_parts(cfg)
        return parts | {"features": training_free_features(cfg, parts["clip"])}

    def compile(self, **options) -> None:
        """Compile the encoder's blocks with `torch.compile`."""
        self.clip.compile(**options)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Predictions.

        Args:
            batched_inputs: per image a dict with ``image`` (3, h, w) RGB in 0-255, any dtype; ``height`` and ``width``
                of the output (default: the image's); ``vocabulary``, a list of names (default: the model's);
                ``output``, "probabilities" (default) or "labels"; ``dataset``, whose protocol holds.

        Returns:
            Per image ``sem_seg`` (T, height, width) float32 probabilities, or ``labels`` (height, width) int64 with
            their probabilities, ``scores`` (height, width) float32.

        Raises:
            RuntimeError: the model is in training mode.
        """
        if self.training:
            raise RuntimeError(
                "ClipSegmenter trains nothing: evaluate it (tools/evaluate_benchmarks.py, --eval-only), or train "
                "MODEL.META_ARCHITECTURE PhysSeg"
            )
        return self.predict(batched_inputs)

    @torch.no_grad()
    def encode_image(self, x: dict[str, Any]) -> EncodedImage:
        """One test input (see `forward`) as far as no word matters; for `predict_encoded`."""
        image = self._normalise(x["image"])
        protocol = self._protocol(x)
        plan = plan_crops(tuple(image.shape[-2:]), protocol.window, protocol.stride)
        windows = split_windows(image, plan)
        dense = torch.cat([self.features(part) for part in windows.split(self._windows_at_once())])
        guidance = {"image": image[None]} if protocol.pamr_steps else {}
        return EncodedImage((EncodedBatch(dense, guidance),), plan, (1.0, 1.0), output_size(x))

    def words(self, vocabulary: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
        """The Q words behind names, and each word's class, (Q,) int64."""
        groups = [synonyms(name) if self.join_synonyms else (name,) for name in vocabulary]
        owners = [index for index, group in enumerate(groups) for _ in group]
        return tuple(word for group in groups for word in group), torch.tensor(owners, device=self.device)

    def _predict(
        self, image: EncodedImage, names: Sequence[str], output: str, protocol: DenseProtocol
    ) -> dict[str, Tensor]:
        words, owners = self.words(names)
        (part,) = image.parts
        # One feature a word: the templates' mean.
        text = F.normalize(self.text_features(words).mean(1), dim=-1)
        logits = torch.einsum("behw,qe->bqhw", F.normalize(part.dense, dim=1), text)
        maps = self._maps(logits, image, protocol)
        labels_only = output == "labels"
        rules = (protocol.area_threshold, labels_only, protocol.background_entropy)
        return word_prediction(maps, owners, protocol.scale, *rules)

    def _maps(self, logits: Tensor, image: EncodedImage, protocol: DenseProtocol) -> Callable[[slice], Tensor]:
        """Logits (windows, Q, H, W) -> a function: slice of words -> their logits (q, height, width)."""
        (part,) = image.parts
        resize = {"size": image.size, "mode": "bilinear", "align_corners": False}
        weights = None
        if protocol.pamr_steps:
            weights = affinity(F.interpolate(part.guidance["image"], **resize)[0], protocol.pamr_dilations)

        def maps(words: slice) -> Tensor:
            merged = merge_windows(logits[:, words].float(), image.plan, activation=None)
            full = F.interpolate(merged[None], **resize)[0]
            return full if weights is None else pamr(full, weights, protocol.pamr_steps, protocol.pamr_dilations)

        return maps
