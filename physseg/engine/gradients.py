"""Each loss term's gradient apart: how strong it is in each part of the model, and whether it agrees with L_seg's.

A step follows the sum of the terms' gradients; clipping and Adam both take out that sum's length. What counts is how
the terms stand to each other on the weights that they share.

Letters: K terms, P parameters, n numbers of a parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from detectron2.utils import comm
from torch import Tensor, nn

ANCHOR = "loss_sem_seg"
"""The term that the others, the additions, are compared with."""
PARTS = ("clip", "guidance", "head")
"""Parts of the model; what belongs neither to CLIP nor to the guidance layers is the head."""
SHARED = "shared"
"""All weights that both L_seg and an addition reach."""


@dataclass(frozen=True)
class TermGradients:
    """Gradients of one batch, a term's weight included.

    Attributes:
        norms: term -> one of `PARTS` -> Euclidean norm of its gradient there.
        shared: addition -> norms of L_seg's gradient and of its own on the weights both reach.
        cosines: addition -> one of `PARTS`, or `SHARED` -> cosine of its gradient and L_seg's; left out where one is 0.
    """

    norms: Mapping[str, Mapping[str, float]]
    shared: Mapping[str, tuple[float, float]]
    cosines: Mapping[str, Mapping[str, float]]

    def scalars(self) -> dict[str, float]:
        """Flat: ``gradient_norm/<term>/<part>`` and ``gradient_cosine/<addition>/<part>``, terms without "loss_"."""
        flat = {}
        for kind, values in (("norm", self.norms), ("cosine", self.cosines)):
            for term, parts in values.items():
                flat |= {f"gradient_{kind}/{short(term)}/{part}": value for part, value in parts.items()}
        return flat


def short(term: str) -> str:
    """``"loss_sem_seg"`` -> ``"sem_seg"``: a log about a loss is no loss."""
    return term.removeprefix("loss_")


def keep_compiled_graphs() -> None:
    """Let compiled parts be run backwards more than once, as `GradientMeter` does; before their first call.

    By default torch gives buffers of a compiled graph away in its first backward pass. It costs some memory.
    """
    import torch._functorch.config as functorch

    if hasattr(functorch, "donated_buffer"):  # older ones keep them
        functorch.donated_buffer = False


class GradientMeter:
    """Takes the terms' gradients one by one, beside the usual backward pass, over the parts of a batch and processes.

    Between the first `add` and `measure` it holds one float32 gradient of all trained weights per term.

    Args:
        model: not wrapped; its trained weights are sorted into `PARTS` by the first word of their names.
    """

    def __init__(self, model: nn.Module) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self._parameters = [p for _, p in named]
        self._parts = [first if (first := name.partition(".")[0]) in PARTS else "head" for name, _ in named]
        self._sums: dict[str, list[Tensor | None]] = {}

    def add(self, losses: Mapping[str, Tensor], scale: float = 1.0) -> None:
        """Add a part of the batch; its graph stays for the usual backward pass.

        Args:
            losses: the terms, weighted so that the parts' gradients add up to the batch's.
            scale: by which losses are multiplied before, and gradients divided after the backward pass (fp16).
        """
        for term, loss in losses.items():
            sums = self._sums.setdefault(term, [None] * len(self._parameters))
            if not loss.requires_grad:
                continue
            gradients = torch.autograd.grad(loss * scale, self._parameters, retain_graph=True, allow_unused=True)
            for index, gradient in enumerate(gradients):
                if gradient is not None:
                    gradient = gradient.float() / scale
                    sums[index] = gradient if sums[index] is None else sums[index] + gradient

    def measure(self) -> TermGradients:
        """Compare what was added by all processes, whose mean is the batch's gradient; then forget it."""
        terms, sums = list(self._sums), list(self._sums.values())
        self._sums = {}
        for gradients in sums:
            _average_over_processes([g for g in gradients if g is not None])
        products = self._products(sums)
        reached = torch.tensor([[g is not None for g in gradients] for gradients in sums])  # (K, P)
        inside = {part: torch.tensor([p == part for p in self._parts]) for part in PARTS}

        norms = {t: {p: _norm(products[inside[p]], k) for p in PARTS} for k, t in enumerate(terms)}
        shared, cosines = {}, {}
        if ANCHOR in terms:
            a = terms.index(ANCHOR)
            for k, term in enumerate(terms):
                if k == a:
                    continue
                both = products[reached[k] & reached[a]]
                shared[term] = (_norm(both, a), _norm(both, k))
                areas = {part: products[inside[part]] for part in PARTS} | {SHARED: both}
                cosines[term] = {
                    name: float(area[:, a, k].sum() / (_norm(area, a) * _norm(area, k)))
                    for name, area in areas.items()
                    if _norm(area, a) > 0 and _norm(area, k) > 0
                }
        return TermGradients(norms, shared, cosines)

    def _products(self, sums: list[list[Tensor | None]]) -> Tensor:
        """Inner products of the terms' gradients, one matrix for each parameter: float64 (P, K, K)."""
        products = []
        for index, parameter in enumerate(self._parameters):
            rows = [torch.zeros_like(parameter, dtype=torch.float32) if g[index] is None else g[index] for g in sums]
            matrix = torch.stack([row.flatten() for row in rows])  # (K, n)
            products.append(matrix @ matrix.T)
        return torch.stack(products).double().cpu()


def _norm(products: Tensor, term: int) -> float:
    return float(products[:, term, term].sum().sqrt())


def _average_over_processes(gradients: list[Tensor]) -> None:
    """In place; one message."""
    if comm.get_world_size() == 1 or not gradients:
        return
    flat = torch.cat([g.flatten() for g in gradients])
    torch.distributed.all_reduce(flat)
    flat /= comm.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
