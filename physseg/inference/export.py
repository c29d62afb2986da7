"""ONNX export with the vocabulary as an input: words are chosen where the model runs, not when it is exported.

Exported is plain inference of one image at CLIP's square size, from RGB values and text features to probabilities.
Text features come from `PhysSeg.text_features`, once per vocabulary.

T names, P prompt templates, E CLIP's embedding, S side of the square, H W token grid.
"""

import os

import torch
from torch import Tensor, nn

from physseg.io import atomic_write
from physseg.modeling.catseg.cost_volume import cost_volume
from physseg.modeling.meta_arch import PhysSeg

OPSET = 18


class SquareSegmenter(nn.Module):
    """A `PhysSeg` as a function of two tensors, without limits on memory by slices.

    Args:
        model: in evaluation mode; the parts are shared, not copied.
    """

    def __init__(self, model: PhysSeg) -> None:
        super().__init__()
        self.clip, self.guidance = model.clip, model.guidance
        self.aggregation, self.decoder = model.aggregation, model.decoder
        self.test_pooling = model.test_pooling
        # Where any number of classes is taken, one that no vocabulary reaches.
        self.max_classes = model.max_classes or 1 << 16
        self.register_buffer("pixel_mean", model.pixel_mean, persistent=False)
        self.register_buffer("pixel_std", model.pixel_std, persistent=False)

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Probabilities.

        Args:
            image: (1, 3, S, S) float32 RGB, 0-255.
            text: (T, P, E) float32 text features, 1 <= T <= MODEL.AGGREGATION.MAX_CLASSES (where that is 0, any).

        Returns:
            (1, T, 4H, 4W) float32.
        """
        normalised = (image - self.pixel_mean) / self.pixel_std
        features = self.clip(normalised)
        guidance = self.guidance(features, normalised)
        cost = cost_volume(features.dense, text[None])
        everything = self.clip.grid**2
        tokens = self.aggregation(cost, guidance["g3"], text[None], self.test_pooling, self.max_classes, everything)
        return self.decoder(tokens, *self.decoder.prepare(guidance["g4"], guidance["g5"])).sigmoid()


def export_onnx(model: PhysSeg, path: str | os.PathLike) -> None:
    """Write an ONNX file with inputs "image" (1, 3, S, S) and "text" (T, P, E), T free, and output "probabilities".

    Args:
        model: on the CPU, in evaluation mode.

    Raises:
        ImportError: the extra "onnx" is not installed.
        ValueError: the model is in training mode, or not on the CPU.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ModuleNotFoundError as error:
        raise ImportError(f'ONNX export needs {error.name}: pip install "physseg[onnx]"') from error
    if model.training or model.device.type != "cpu":
        raise ValueError("expected the model on the CPU and in evaluation mode: model.cpu().eval()")
    side, templates = model.clip.image_size, len(model.clip.templates)
    example = (torch.zeros(1, 3, side, side), torch.randn(5, templates, model.clip.embed_dim))
    # torch.export takes a size of 1 for a constant, so it is told of 2 and more; the file runs with one name too.
    names = torch.export.Dim("T", min=2, max=model.max_classes or 1 << 16)
    with atomic_write(path) as temporary, torch.no_grad():
        torch.onnx.export(
            SquareSegmenter(model).eval(),
            example,
            str(temporary),
            input_names=["image", "text"],
            output_names=["probabilities"],
            dynamic_shapes={"image": None, "text": {0: names}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
        )
