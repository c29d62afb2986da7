"""How similar a benchmark's vocabulary is to the training vocabulary (the paper's table 1).

The paper says "Hausdorff distance over cosine similarity" and gives no formula; larger is more similar there. With
the distance d(a, b) = 1 - cos(a, b) between text features, the distance of a benchmark A from the training
vocabulary B is the directed Hausdorff distance h(A, B) = max_a min_b d(a, b): how far the benchmark's most foreign
class is from everything seen in training. The similarity printed is 1 - h = min_a max_b cos(a, b).

Why directed: training classes that a benchmark lacks do not make it harder. VOC's 20 classes are nearly all in
COCO-Stuff (0.91 in the paper), while most of COCO-Stuff is far from VOC; a symmetric distance could not tell.
The other direction, the symmetric form and the mean of max_b cos(a, b) are reported beside it.

Letters: A benchmark classes, B training classes, E embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

PAPER = {"pas20": 0.91, "pc59": 0.86, "pc459": 0.70, "a150": 0.73, "a847": 0.57}
"""The paper's table 1 by benchmark key (CLIP ViT-L/14, COCO-Stuff)."""


@dataclass(frozen=True)
class CategorySimilarity:
    """Similarities in -1..1, larger = more similar, and the class behind the directed one."""

    hausdorff: float
    reverse: float
    symmetric: float
    mean: float
    farthest: str
    nearest_to_farthest: str


def hausdorff_similarity(features: Tensor, training: Tensor) -> float:
    """Return 1 - h(A, B) = min over A of the largest cosine to B; features (A, E) and (B, E), any scale.

    Example::

        >>> hausdorff_similarity(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
        0.6...
    """
    return float(_cosines(features, training).amax(dim=1).amin())


def category_similarity(
    classes: Sequence[str], training: Sequence[str], encode: Callable[[Sequence[str]], Tensor]
) -> CategorySimilarity:
    """Compare two vocabularies.

    Args:
        classes: the benchmark's names.
        training: the training set's names.
        encode: names -> (T, E) text features.

    Raises:
        ValueError: a vocabulary is empty.
    """
    if not classes or not training:
        raise ValueError("both vocabularies need at least one class name")
    cosines = _cosines(encode(list(classes)), encode(list(training)))
    nearest, which = cosines.max(dim=1)
    farthest = int(nearest.argmin())
    forth, back = float(nearest.amin()), float(cosines.amax(dim=0).amin())
    return CategorySimilarity(
        hausdorff=forth,
        reverse=back,
        symmetric=min(forth, back),
        mean=float(nearest.mean()),
        farthest=classes[farthest],
        nearest_to_farthest=training[int(which[farthest])],
    )


def _cosines(features: Tensor, training: Tensor) -> Tensor:
    # Rounding would otherwise put a class at a cosine above 1 from itself.
    product = F.normalize(features.detach().double(), dim=-1) @ F.normalize(training.detach().double(), dim=-1).T
    return product.clamp(-1.0, 1.0)
