"""PhysSeg: the stages in their order. The only part that sees Detectron2's list of dicts.

B images, T classes, K kept classes, P prompt templates, H W token grid, N = H * W, C channels.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from physseg.data.vocabularies import check_vocabulary
from physseg.dtypes import at_least_float32
from physseg.losses import PatchAlignmentLoss, StructureLoss
from physseg.losses.patch_alignment import count_labelled_patches
from physseg.losses.segmentation import (
    IGNORED_PIXELS,
    dropped_classes_sum,
    segmentation_loss_count,
    segmentation_loss_sum,
)
from physseg.modeling.batching import check_labels, pad_to_common_size, pad_to_size
from physseg.modeling.build import parts_from_config
from physseg.modeling.catseg.aggregation import CostAggregation
from physseg.modeling.catseg.class_sampling import sample_classes
from physseg.modeling.catseg.cost_volume import ClassLogits, cost_volume, likeliest_classes, take_classes
from physseg.modeling.catseg.decoder import Decoder
from physseg.modeling.catseg.keep_classes import ClassFilter
from physseg.modeling.chunks import chunked_sum, map_chunks
from physseg.modeling.clip.encoder import ClipEncoder
from physseg.modeling.encoded import EncodedBatch, EncodedImage
from physseg.modeling.inputs import group_by_vocabulary, output_size
from physseg.modeling.postprocess import whole_prediction, windows_prediction
from physseg.modeling.precision import PRECISIONS, precision_context
from physseg.modeling.sliding_window import WindowPlan, plan_windows, split_windows
from physseg.modeling.structure_head import StructureHead
from physseg.structure.device_source import DeviceSource
from physseg.text.cache import TextCache


@META_ARCH_REGISTRY.register()
class PhysSeg(nn.Module):
    """Open-vocabulary segmentation: CAT-Seg, with the paper's two losses where they are switched on.

    Args:
        clip: CLIP as a dense encoder.
        guidance: (features, images, sizes within their padding) -> guidance maps g3, g4, g5.
        aggregation, decoder: cost aggregation and its decoder.
        vocabulary: names in use where an input carries none; the training set's names.
        max_classes: classes kept per image, the others get logit -100; 0 keeps all.
        sampled_classes: K > 0: in training K classes an image, see `sample_classes`; at most ``max_classes``.
        class_filter: keeps fewer at test; None: no fewer.
        class_chunk: class maps (one class of one image) worked on at a time; 0: as many as make 4,608 tokens on a
            CPU, which is 8 maps of 24x24, and 32 times that on a GPU.
        pooling, test_pooling: class attention's pooling in training and at test.
        window: None for plain inference, else `plan_windows`' size, stride, canvas, keep_aspect by name.
        precision: "float32", "bf16" or "auto" of predictions; "by_use" is float32 here (`physseg.modeling.precision`).
        crop_padding: remove the padded border before a prediction is resized.
        ignore_value, ignored_pixels: see `segmentation_loss_sum`.
        structure_head, patch_alignment: None where switched off.
        device_sources: channel of the pseudo ground truth -> what makes it on the model's device.
        soft_structure: whether a pseudo ground truth has values between 0 and 1.
        structure_weight, alignment_weight: lambda_p and lambda_sac of eq. 4.
        compiled: call `compile`.
    """

    @configurable
    def __init__(
        self,
        *,
        clip: ClipEncoder,
        guidance: nn.Module,
        aggregation: CostAggregation,
        decoder: Decoder,
        vocabulary: Sequence[str],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        max_classes: int = 256,
        sampled_classes: int = 0,
        class_filter: ClassFilter | None = None,
        class_chunk: int = 0,
        pooling: Sequence[int] = (2, 2),
        test_pooling: Sequence[int] = (1, 1),
        window: Mapping[str, Any] | None = None,
        precision: str = "float32",
        crop_padding: bool = False,
        ignore_value: int = 255,
        ignored_pixels: str = "zero_target",
        structure_head: StructureHead | None = None,
        structure_weight: float = 1.0,
        device_sources: Mapping[int, DeviceSource] | None = None,
        soft_structure: bool = False,
        patch_alignment: PatchAlignmentLoss | None = None,
        alignment_weight: float = 1.0,
        compiled: bool = False,
    ):
        super().__init__()
        if ignored_pixels not in IGNORED_PIXELS:
            raise ValueError(f"MODEL.LOSS.IGNORED_PIXELS: expected one of {IGNORED_PIXELS}, got {ignored_pixels!r}")
        if precision not in PRECISIONS:
            raise ValueError(f"TEST.PRECISION: expected one of {PRECISIONS}, got {precision!r}")
        self.clip = clip
        self.guidance = guidance
        self.aggregation = aggregation
        self.decoder = decoder
        self.structure_head = structure_head
        self.structure_loss = StructureLoss()
        self.structure_weight = structure_weight
        self.device_sources = dict(device_sources or {})
        self.soft_structure = soft_structure
        self.patch_alignment = patch_alignment
        self.alignment_weight = alignment_weight
        self.vocabulary = tuple(check_vocabulary(vocabulary))
        self.max_classes = max_classes
        self.sampled_classes = sampled_classes
        self.class_filter = class_filter or ClassFilter()
        self.class_chunk = class_chunk
        self.pooling, self.test_pooling = tuple(pooling), tuple(test_pooling)
        self.window = window
        self.precision = precision
        self.crop_padding = crop_padding
        self.ignore_value, self.ignored_pixels = ignore_value, ignored_pixels
        self.text_cache = TextCache()
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        if compiled:
            self.compile()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return parts_from_config(cfg)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def compile(self, **options) -> None:
        """Compile the hot path with `torch.compile`, each part as one graph; what reads dicts stays as it is.

        A part is compiled when it is first called, and once or twice more for other numbers of classes, apart in
        training and at test. Names of parameters stay.

        Args:
            options: of `torch.compile`; `fullgraph` is True, so that a graph break is an error.
        """
        # Beyond the limit torch raises. Shapes, layouts, training and test come to about ten variants of a part.
        torch._dynamo.config.cache_size_limit = max(torch._dynamo.config.cache_size_limit, 64)
        for part in (self.clip, self.aggregation, self.decoder):
            part.compile(**{"fullgraph": True} | options)

    def train(self, mode: bool = True) -> "PhysSeg":
        """Switch between training and evaluation; training drops the text features that evaluation keeps."""
        if mode:
            self.text_cache.clear()
        return super().train(mode)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses in training, predictions at test.

        Args:
            batched_inputs: per image a dict with ``image`` (3, h, w) RGB in 0-255, any dtype.
                Training: ``sem_seg`` (h, w) int64 with `ignore_value` where unlabelled, indices into the model's
                vocabulary; ``structure`` (S, h, w) where the structure head is on.
                Test: ``height`` and ``width`` of the output (default: the image's); ``vocabulary``, a list of names
                (default: the model's); ``output``, "probabilities" (default) or "labels".

        Returns:
            Training: ``loss_sem_seg`` and, where on, ``loss_patch_alignment`` and ``loss_structure``, weighted.
            Test: per image ``sem_seg`` (T, height, width) float32 probabilities, or ``labels`` (height, width) int64
            with their probabilities, ``scores`` (height, width) float32.
        """
        return self.losses(batched_inputs) if self.training else self.predict(batched_inputs)

    def losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """The three terms of eq. 4, weighted; see `forward`."""
        images = self._training_images(batched_inputs)
        sem_seg = self._training_maps(batched_inputs, "sem_seg", images, self.ignore_value)
        check_labels(sem_seg, len(self.vocabulary), self.ignore_value)
        features = self.clip(images)
        text = self.text_features(self.vocabulary)
        guidance = self.guidance(features, images, _content_sizes(batched_inputs))
        classes = self._training_classes(features.dense, text, sem_seg)
        tokens = self._aggregate(features.dense, guidance, text, classes)
        losses = {"loss_sem_seg": self._segmentation_loss(tokens, classes, guidance, sem_seg)}
        if self.patch_alignment is not None:
            loss = self.patch_alignment(features.dense, F.normalize(text.mean(1), dim=-1), sem_seg)
            losses["loss_patch_alignment"] = self.alignment_weight * loss
        if self.structure_head is not None:
            logits = self.structure_head(features._asdict() | guidance)
            target = self.structure_targets(batched_inputs)
            losses["loss_structure"] = self.structure_weight * self.structure_loss(logits, target)
        return losses

    @torch.no_grad()
    def loss_counts(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Number of terms that a loss of `losses` is a mean of, where it depends on the labels.

        Parts of a batch that are weighted by it give the whole batch's mean. The structure loss is a mean over all
        pixels, and as many of them in each part.
        """
        sem_seg = [x["sem_seg"].to(self.device, non_blocking=True) for x in batched_inputs]
        counts = {}
        if self.ignored_pixels == "masked":
            counts["loss_sem_seg"] = sum((labels != self.ignore_value).sum() for labels in sem_seg)
        if self.patch_alignment is not None:
            padded = pad_to_common_size(sem_seg, self.ignore_value)
            grid = (self.clip.grid, self.clip.grid)
            counts["loss_patch_alignment"] = count_labelled_patches(padded, grid, self.ignore_value)
        return counts

    @torch.no_grad()
    def predict(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Tensor]]:
        """Predictions; see `forward`. Images of one vocabulary go through the model together."""
        results: list[dict[str, Tensor]] = [{} for _ in batched_inputs]
        for names, indices in group_by_vocabulary(batched_inputs, self.vocabulary).items():
            text = self.text_features(names)
            step = 1 if self.window else self._images_at_once()
            for start in range(0, len(indices), step):
                part = indices[start : start + step]
                predict = self._predict_windows if self.window else self._predict_whole
                for index, result in zip(part, predict([batched_inputs[i] for i in part], text), strict=True):
                    results[index] = result
        return results

    @torch.no_grad()
    def encode_image(self, x: dict[str, Any]) -> EncodedImage:
        """One test input (see `forward`) as far as no word matters: CLIP's image encoder and the guidance.

        Kept by the caller, it lets other words be tried on the same image for the price of `predict_encoded`.
        """
        if self.window:
            windows, plan = self._windows(x)
            return EncodedImage(tuple(self._encode(part, part) for part in windows), plan, (1.0, 1.0), output_size(x))
        square, padded, contents = self._squares([x])
        encoded = self._encode(square, padded, contents)
        return EncodedImage((encoded,), None, self._used(padded[0], contents[0]), output_size(x))

    @torch.no_grad()
    def predict_encoded(
        self, image: EncodedImage, vocabulary: Sequence[str] | None = None, output: str = "probabilities"
    ) -> dict[str, Tensor]:
        """The prediction of an encoded image, equal to `predict`'s: text, aggregation and decoder alone run.

        Args:
            vocabulary, output: as in `forward`'s test inputs.
        """
        names = self.vocabulary if vocabulary is None else tuple(check_vocabulary(vocabulary))
        text = self.text_features(names)
        parts = [self._decode(part, text) for part in image.parts]
        if image.plan is None:
            return whole_prediction(parts[0], image.size, image.used, output == "labels")
        return windows_prediction(parts, image.plan, image.size, output == "labels")

    def text_features(self, vocabulary: Sequence[str]) -> Tensor:
        """(T, P, E) features of the names; recomputed in training, kept in evaluation until weights change."""
        if self.training and self.clip.text_trains:
            return self.clip.encode_text(vocabulary)
        return self.text_cache.get(self.clip, tuple(vocabulary))

    def structure_targets(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """Pseudo ground truths (B, S, h, w) of training inputs, padded as the images are, those of this device made.

        uint8 of 0 and 1; float32 in 0-1 where a source is soft.
        """
        images = [x["image"] for x in batched_inputs]
        target = self._training_maps(batched_inputs, "structure", pad_to_common_size(images), 0)
        target = target.float() if self.soft_structure else target
        for channel, source in self.device_sources.items():
            source.fill(target, [image.to(self.device, non_blocking=True) for image in images], channel)
        return target

    @torch.no_grad()
    def structure_logits(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        """Structure head's logits (B, S, h, w) for training inputs, in any mode.

        Raises:
            RuntimeError: the model has no structure head.
        """
        if self.structure_head is None:
            raise RuntimeError("this model has no structure head: set MODEL.STRUCTURE.ENABLED True")
        images = self._training_images(batched_inputs)
        features = self.clip(images)
        guidance = self.guidance(features, images, _content_sizes(batched_inputs))
        return self.structure_head(features._asdict() | guidance)

    def _segmentation_loss(
        self, tokens: Tensor, classes: Tensor | None, guidance: Mapping[str, Tensor], sem_seg: Tensor
    ) -> Tensor:
        """Decoder and loss per slice of classes, each slice's gradient taken at once."""
        count = tokens.shape[1]
        ids = torch.arange(count, device=sem_seg.device)[None] if classes is None else classes

        def loss_of_slice(part: Tensor, start: int, *prepared: Tensor) -> Tensor:
            logits = self.decoder(part, *prepared)
            part_ids = ids[:, start : start + part.shape[1]]
            return segmentation_loss_sum(logits, sem_seg, part_ids, self.ignore_value, self.ignored_pixels)

        prepared = self.decoder.prepare(guidance["g4"], guidance["g5"])
        total = chunked_sum(loss_of_slice, tokens, self._classes_at_once(len(tokens)), *prepared)
        if classes is not None:
            total = total + dropped_classes_sum(sem_seg, classes, self.ignore_value)
        return total / segmentation_loss_count(sem_seg, len(self.vocabulary), self.ignore_value, self.ignored_pixels)

    def _training_classes(self, dense: Tensor, text: Tensor, sem_seg: Tensor) -> Tensor | None:
        """Classes (B, K) that go through aggregation in training; None for all."""
        if not self.sampled_classes:
            return likeliest_classes(dense, text, self.max_classes)
        keep = min(self.sampled_classes, self.max_classes or self.sampled_classes)
        return sample_classes(dense, text, sem_seg, keep, self.ignore_value)

    def _aggregate(self, dense: Tensor, guidance: Mapping[str, Tensor], text: Tensor, classes: Tensor | None) -> Tensor:
        """Cost volume and its aggregation: tokens (B, K, N, C) of the classes (B, K), None for all."""
        text = text[None] if classes is None else take_classes(text[None], classes)
        cost = cost_volume(dense, text)
        b, t = cost.shape[:2]
        class_chunk = self._classes_at_once(b)
        pooling = self.pooling if self.training else self.test_pooling
        # Slices of positions hold as many tokens as slices of classes.
        position_chunk = max(1, class_chunk * self.clip.grid**2 // t)
        return self.aggregation(cost, guidance["g3"], text, pooling, class_chunk, position_chunk)

    def _encode(
        self, square: Tensor, images: Iterable[Tensor], contents: Sequence[Sequence[int]] | None = None
    ) -> EncodedBatch:
        """All that no word changes.

        Args:
            square: (B, 3, s, s) normalised images at CLIP's size. images: the same B images as they were before.
            contents: (height, width) of each of `images` within its padding; None: there is no padding.
        """
        with self._precision_context():
            features = self.clip(square)
            return EncodedBatch(features.dense, self.guidance(features, images, contents))

    def _decode(self, encoded: EncodedBatch, text: Tensor) -> ClassLogits:
        """Logits on four times the token grid for names (T, P, E)."""
        # Which classes are kept is decided by small differences.
        classes = self.class_filter(at_least_float32(encoded.dense), text, self.max_classes)
        with self._precision_context():
            tokens = self._aggregate(encoded.dense, encoded.guidance, text, classes)
            prepared = self.decoder.prepare(encoded.guidance["g4"], encoded.guidance["g5"])
            values = map_chunks(self.decoder, tokens, 1, self._classes_at_once(len(tokens)), *prepared)
        return ClassLogits(values, classes, len(text))

    def _logits(
        self, square: Tensor, images: Iterable[Tensor], text: Tensor, contents: Sequence[Sequence[int]] | None = None
    ) -> ClassLogits:
        """`_encode`, then `_decode`."""
        return self._decode(self._encode(square, images, contents), text)

    def _squares(self, batched_inputs: list[dict[str, Any]]) -> tuple[Tensor, list[Tensor], list[torch.Size]]:
        """For plain inference: images at CLIP's size, as they were before, and the size of each within its padding."""
        images = [self._normalise(x["image"]) for x in batched_inputs]
        padded = [pad_to_common_size([image])[0] for image in images]
        size = (self.clip.image_size, self.clip.image_size)
        square = [F.interpolate(p[None], size=size, mode="bilinear", align_corners=False) for p in padded]
        return torch.cat(square), padded, [image.shape[-2:] for image in images]

    def _used(self, padded: Tensor, content: Sequence[int]) -> tuple[float, float]:
        """Share of an image's height and width that its prediction is made of."""
        if not self.crop_padding:
            return 1.0, 1.0
        return content[0] / padded.shape[1], content[1] / padded.shape[2]

    def _windows(self, x: Mapping[str, Any]) -> tuple[tuple[Tensor, ...], WindowPlan]:
        """For sliding windows: an image's windows, normalised, in batches, and where they lie."""
        image = self._to_float(x["image"])
        plan = plan_windows(tuple(image.shape[-2:]), **self.window)
        return self._normalise(split_windows(image, plan)).split(self._images_at_once()), plan

    def _predict_whole(self, batched_inputs: list[dict[str, Any]], text: Tensor) -> list[dict[str, Tensor]]:
        """Plain inference."""
        square, padded, contents = self._squares(batched_inputs)
        logits = self._logits(square, padded, text, contents)
        results = []
        for index, x in enumerate(batched_inputs):
            used = self._used(padded[index], contents[index])
            results.append(whole_prediction(logits.image(index), output_size(x), used, x.get("output") == "labels"))
        return results

    def _predict_windows(self, batched_inputs: list[dict[str, Any]], text: Tensor) -> list[dict[str, Tensor]]:
        """Sliding-window inference of one image."""
        (x,) = batched_inputs
        windows, plan = self._windows(x)
        parts = [self._logits(part, part, text) for part in windows]
        return [windows_prediction(parts, plan, output_size(x), x.get("output") == "labels")]

    def _precision_context(self) -> contextlib.AbstractContextManager:
        tokens, width, dim = self.clip.grid**2, self.clip.width, self.aggregation.dim
        products = ((tokens, width, 4 * width), (self._maps_at_once() * tokens, dim, 4 * dim))
        return precision_context(self.precision, self.device, products)

    def _classes_at_once(self, images: int) -> int:
        return max(1, self._maps_at_once() // images)

    def _images_at_once(self) -> int:
        # The tokens of all classes of these images exist at once, while a slice is worked on with several times its
        # own size: an image for every 64 maps keeps the two about equal.
        return max(1, self._maps_at_once() // 64)

    def _maps_at_once(self) -> int:
        # A CPU is fastest when a slice's buffers stay in cache; a GPU needs enough work per kernel.
        tokens = 4608 if self.device.type == "cpu" else 32 * 4608
        return self.class_chunk or max(1, tokens // self.clip.grid**2)

    def _to_float(self, image: Tensor) -> Tensor:
        # Single precision, but for a model in double.
        return image.to(self.device, torch.promote_types(self.pixel_mean.dtype, torch.float32), non_blocking=True)

    def _normalise(self, image: Tensor) -> Tensor:
        return (self._to_float(image) - self.pixel_mean) / self.pixel_std

    def _training_images(self, batched_inputs: list[dict[str, Any]]) -> Tensor:
        return pad_to_common_size([self._normalise(x["image"]) for x in batched_inputs])

    def _training_maps(self, batched_inputs: list[dict[str, Any]], key: str, like: Tensor, value: int) -> Tensor:
        """Maps of every image, padded to the images' common size: (B, ..., h, w)."""
        if any(key not in x for x in batched_inputs):
            raise KeyError(f"training needs {key!r} for every image; the mapper makes it (physseg.data.mapper)")
        return pad_to_size([x[key].to(self.device, non_blocking=True) for x in batched_inputs], like.shape[-2:], value)


def _content_sizes(batched_inputs: list[dict[str, Any]]) -> list[torch.Size]:
    return [x["image"].shape[-2:] for x in batched_inputs]
