"""Weights of the additions to L_seg that follow their gradients, instead of standing fixed.

A plain lambda says how much of an addition's loss counts, and the losses are means over different things: L_seg over
pixels times classes, L_sac over patches. On CLIP's weights L_sac's gradient is then tens of times L_seg's
(docs/results.md). Here a weight says how strong an addition's gradient is beside L_seg's, on the weights that both
reach: the ratio that decides where Adam's step points, whatever the units of the losses.

GradNorm (Chen et al., ICML 2018) brings tasks to one common gradient norm by learning their weights with an optimizer
of its own; without its second goal, equal training speed (alpha = 0), the weights it settles at are those of the rule
here, written down: lambda_k = share_k |g_seg| / |g_k|. L_seg is the task and keeps weight 1; it needs no speed to be
held back for. VQGAN (Esser et al., CVPR 2021, eq. 7) weighs its adversarial loss by the same quotient.
"""

from collections.abc import Mapping

from detectron2.config import CfgNode

from physseg.engine.gradients import TermGradients

# A term whose gradient has almost vanished must not be blown up into noise, nor the model be given up for one.
_LARGEST, _SMALLEST = 1e3, 1e-6


class LossBalance:
    """Keeps running averages of gradient norms and gives each addition's factor.

    Args:
        shares: addition's name -> norm of its gradient over L_seg's, wanted on the weights that both reach.
        period: iterations between two measurements.
        decay: of the running averages, per measurement, in [0, 1); the first measurement starts them.
    """

    def __init__(self, shares: Mapping[str, float], period: int = 10, decay: float = 0.9) -> None:
        self.shares, self.period, self.decay = dict(shares), period, decay
        self._averages: dict[str, tuple[float, float]] = {}

    @property
    def measured(self) -> bool:
        """Whether every addition's gradient is known."""
        return self._averages.keys() >= self.shares.keys()

    def update(self, gradients: TermGradients) -> None:
        """Take in a measurement; a norm that is zero or no number (fp16 overflows now and then) is passed over."""
        for term in self.shares:
            new = gradients.shared.get(term, (0.0, 0.0))
            if not all(0 < norm < float("inf") for norm in new):
                continue
            old = self._averages.get(term, new)
            self._averages[term] = tuple(self.decay * a + (1 - self.decay) * b for a, b in zip(old, new, strict=True))

    def factor(self, term: str) -> float:
        """What to multiply a term by; 1 for L_seg, and for an addition that has had no gradient yet."""
        if term not in self._averages:
            return 1.0
        of_seg, own = self._averages[term]
        return min(max(self.shares[term] * of_seg / own, _SMALLEST), _LARGEST)

    def state_dict(self) -> dict[str, list[float]]:
        """The running averages: addition -> norms of L_seg's gradient and of its own."""
        return {term: list(pair) for term, pair in self._averages.items()}

    def load_state_dict(self, state: Mapping[str, list[float]]) -> None:
        """Take over what `state_dict` gave."""
        self._averages = {term: (pair[0], pair[1]) for term, pair in state.items()}


def build_loss_balance(cfg: CfgNode) -> LossBalance | None:
    """The balance that SOLVER.LOSS_BALANCE asks for; None for plain weights.

    The shares are MODEL.PATCH_ALIGNMENT.WEIGHT and MODEL.STRUCTURE.WEIGHT of the losses that are switched on; one of
    weight 0 has no part in it.
    """
    node = cfg.SOLVER.LOSS_BALANCE
    if node.METHOD == "weights":
        return None
    additions = {"loss_patch_alignment": cfg.MODEL.PATCH_ALIGNMENT, "loss_structure": cfg.MODEL.STRUCTURE}
    shares = {term: addition.WEIGHT for term, addition in additions.items() if addition.ENABLED and addition.WEIGHT}
    return LossBalance(shares, node.PERIOD, node.DECAY)
