"""One training iteration: micro-batches, mixed precision, gradient clipping, and a stop at the first NaN."""

import contextlib
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from detectron2.engine import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from physseg import signals
from physseg.engine.ema import WeightEMA
from physseg.engine.gradients import GradientMeter, TermGradients, short
from physseg.engine.loss_balance import LossBalance
from physseg.engine.optimizer import clip_gradients
from physseg.engine.precision import autocast, build_grad_scaler
from physseg.engine.random_state import preserved_random_state
from physseg.modeling.batching import to_device
from physseg.timing import stage


class NonFiniteLossError(FloatingPointError):
    """A loss or a gradient became infinite or NaN; nothing was written into the weights."""


@dataclass(frozen=True)
class StepOptions:
    """What an iteration does besides forward and backward; see the keys of SOLVER.

    Attributes:
        accumulation_steps: parts the batch of a process is split into.
        clip_type: as in `clip_gradients`; None for no clipping.
        clip_value, norm_type: as in `clip_gradients`.
        amp: mixed precision.
        amp_dtype: "bf16" or "fp16".
        gradient_period: iterations between two logs of each loss term's gradient; 0: none.
    """

    accumulation_steps: int = 1
    clip_type: str | None = None
    clip_value: float = 0.0
    norm_type: float = 2.0
    amp: bool = False
    amp_dtype: str = "bf16"
    gradient_period: int = 0

    @classmethod
    def from_config(cls, cfg) -> "StepOptions":
        """Read the keys of SOLVER, and ENGINE.GRADIENT_PERIOD."""
        clip = cfg.SOLVER.CLIP_GRADIENTS
        return cls(
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
            clip_type=clip.CLIP_TYPE if clip.ENABLED else None,
            clip_value=clip.CLIP_VALUE,
            norm_type=clip.NORM_TYPE,
            amp=cfg.SOLVER.AMP.ENABLED,
            amp_dtype=cfg.SOLVER.AMP.DTYPE,
            gradient_period=cfg.ENGINE.GRADIENT_PERIOD,
        )


class TrainStep(TrainerBase):
    """What DefaultTrainer delegates an iteration to; the counterpart of Detectron2's SimpleTrainer and AMPTrainer.

    Args:
        model: list of dicts -> dict of scalar losses; in DistributedDataParallel when there are several processes. It
            may have a method ``loss_counts``: the same list -> the number of terms that a loss is a mean of, for those
            losses whose number differs between batches of one size. One whose ``splits_batches`` is True gets the
            batch of its process whole, and sees to ACCUMULATION_STEPS itself: a contrastive loss needs all at once.
        optimizer: over ``model``'s trainable parameters.
        options: see `StepOptions`.
        ema: updated after each step, if given.
        balance: gives the additions' factors, if given.

    Attributes:
        stop_requested: number of the signal that asked any process to stop (`physseg.signals.requested`) before it last
            exchanged losses with the others, or 0. It is the same in all processes, and once set it stays so.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        options: StepOptions,
        ema: WeightEMA | None = None,
        balance: LossBalance | None = None,
    ) -> None:
        super().__init__()
        model.train()
        self.model = model
        self.optimizer = optimizer
        self.options = options
        self.ema = ema
        self.balance = balance
        self._meter = GradientMeter(_unwrapped(model))
        self.data_loader: Iterable[Sequence[dict]] = ()
        self._batches = iter(self.data_loader)
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.device = self.parameters[0].device
        self.device_type = self.device.type
        self.grad_scaler = build_grad_scaler(self.device_type, options.amp, options.amp_dtype)
        self.stop_requested = 0

    def start(self, data_loader: Iterable[Sequence[dict]]) -> None:
        """Take batches from this loader from now on."""
        self.data_loader = data_loader
        self._batches = iter(data_loader)

    @property
    def loader_state(self) -> dict:
        """What the loader needs to go on after the last batch; empty where the iteration's number is enough."""
        return getattr(self.data_loader, "state_dict", dict)()

    def run_step(self) -> None:
        """Run one iteration.

        Raises:
            NonFiniteLossError: in every process, if any has a loss that is no finite number; weights are untouched.
            ValueError: the batch cannot be split into equal parts.
        """
        began = time.perf_counter()
        # The loader's random numbers come from sample positions; what it draws besides must not shift the model's.
        with preserved_random_state(cuda=False), stage("data"):
            batch = next(self._batches)
            if self.device.type != "cpu":
                batch = [to_device(sample, self.device) for sample in batch]
        data_time = time.perf_counter() - began

        with stage("model"):
            self.optimizer.zero_grad()
            if self.balance is not None and not self.balance.measured:
                with preserved_random_state():
                    self._forward_backward(batch, measure_only=True)
            losses = self._forward_backward(batch)
            norm = self._clip()
            # The step's one wait for the device. It stands before the update: what is not finite must not reach the
            # weights.
            *values, norm = torch.stack([value.float() for value in (*losses.values(), norm)]).tolist()
        self._agree(dict(zip(losses, values, strict=True)), data_time)

        with stage("update"):
            self._update(norm)
        get_event_storage().put_scalar("grad_norm", norm)

    def _clip(self) -> Tensor:
        """Clip the gradients and return their norm before."""
        self.grad_scaler.unscale_(self.optimizer)
        return clip_gradients(self.parameters, self.options.clip_type, self.options.clip_value, self.options.norm_type)

    def _update(self, norm: float) -> None:
        """Step by the clipped gradients, unless their norm before is no finite number."""
        # fp16 gradients overflow now and then: the scaler then skips the step and lowers its scale.
        if not self.grad_scaler.is_enabled() and not math.isfinite(norm):
            raise NonFiniteLossError(
                f"The gradient's norm became {norm} at iteration {self.iter} though the losses are finite."
            )
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        if self.ema is not None:
            self.ema.update(_unwrapped(self.model))

    def _forward_backward(self, batch: Sequence[dict], measure_only: bool = False) -> dict[str, Tensor]:
        """Accumulate gradients over the parts of the batch and return the losses averaged over them.

        ``measure_only`` takes the terms' gradients apart and leaves the model's alone.
        """
        whole = getattr(_unwrapped(self.model), "splits_batches", False)
        steps = 1 if whole else self.options.accumulation_steps
        size, rest = divmod(len(batch), steps)
        if rest or not size:
            raise ValueError(
                f"A process's batch of {len(batch)} images cannot be split into SOLVER.ACCUMULATION_STEPS = {steps} "
                "equal parts; SOLVER.IMS_PER_BATCH must be a multiple of processes x ACCUMULATION_STEPS."
            )
        parts = [batch[start : start + size] for start in range(0, len(batch), size)]
        measured = measure_only or self._is_measured()
        mean: dict[str, Tensor] = {}
        for step, (part, weights) in enumerate(zip(parts, self._part_weights(parts), strict=True)):
            with self._synced_only(last=step == steps - 1):
                with autocast(self.device_type, self.options.amp, self.options.amp_dtype):
                    losses = self.model(part)
                losses = {name: value * weights.get(name, 1.0) / steps for name, value in losses.items()}
                if measured:
                    self._meter.add(losses, self.grad_scaler.get_scale())
                if measure_only:
                    continue
                if self.balance is not None:
                    losses = {name: value * self.balance.factor(name) for name, value in losses.items()}
                total = sum(losses.values())
                if isinstance(self.model, DistributedDataParallel):
                    total = total + self._touch_all_parameters()
                self.grad_scaler.scale(total).backward()
            for name, value in losses.items():
                mean[name] = mean[name] + value.detach() if name in mean else value.detach()
        if measured:
            self._take_in(self._meter.measure())
        return mean

    def _is_measured(self) -> bool:
        """Whether this iteration takes the terms' gradients apart; the balance's are due at the same iterations."""
        periods = [self.options.gradient_period] + ([self.balance.period] if self.balance is not None else [])
        return any(period and self.iter % period == 0 for period in periods)

    def _take_in(self, gradients: TermGradients) -> None:
        """Log a measurement; the balance follows it from the next iteration on."""
        get_event_storage().put_scalars(smoothing_hint=False, **gradients.scalars())
        if self.balance is not None:
            self.balance.update(gradients)
            factors = {f"balance/{short(term)}": self.balance.factor(term) for term in self.balance.shares}
            get_event_storage().put_scalars(smoothing_hint=False, **factors)

    @torch.no_grad()
    def _part_weights(self, parts: Sequence[Sequence[dict]]) -> list[dict[str, Tensor]]:
        """Loss name -> weight of each part's loss, so that the mean over parts is the mean over the whole batch.

        With n_k terms in part k of any process, the weight is n_k / mean(n). Losses that are not named weigh 1.
        """
        world_size = comm.get_world_size()
        count_terms = getattr(_unwrapped(self.model), "loss_counts", None)
        counts = [count_terms(part) for part in parts] if count_terms and world_size * len(parts) > 1 else []
        if not counts or not counts[0]:
            return [{} for _ in parts]
        terms = torch.stack([torch.stack(list(c.values())) for c in counts]).double()  # (parts, losses)
        mean = terms.mean(0)
        if world_size > 1:
            torch.distributed.all_reduce(mean)
            mean /= world_size
        weights = torch.where(mean > 0, terms / mean, 0.0).float()
        return [dict(zip(counts[0], row, strict=True)) for row in weights]

    def _synced_only(self, last: bool) -> contextlib.AbstractContextManager:
        # Processes exchange gradients once per iteration, with the last part's backward pass.
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _touch_all_parameters(self) -> Tensor:
        """Zero that depends on every parameter: a branch the batch did not use gets a zero gradient.

        DistributedDataParallel waits for a gradient of every parameter; searching the graph for unused ones
        (find_unused_parameters) costs more and is not needed with this.
        """
        return sum(p.reshape(-1)[:1].sum() for p in self.parameters) * 0.0

    def _agree(self, losses: dict[str, float], data_time: float) -> None:
        """Share losses and stop requests among the processes, log them, stop at the first that is not finite."""
        # A signal that comes during the exchange is part of the next one: the request is kept where the handler put it.
        everyone = comm.all_gather((losses, data_time, signals.requested()))
        self.stop_requested = self.stop_requested or max(number for *_, number in everyone)
        mean = {name: sum(own[name] for own, *_ in everyone) / len(everyone) for name in losses}
        total = sum(mean.values())
        if total - total != 0:  # inf and NaN
            raise NonFiniteLossError(
                f"The loss became infinite or NaN at iteration {self.iter}: "
                + ", ".join(f"{name} = {value:g}" for name, value in mean.items())
            )
        storage = get_event_storage()
        storage.put_scalars(total_loss=total, **mean)
        storage.put_scalar("data_time", max(seconds for _, seconds, _ in everyone))

    def state_dict(self) -> dict:
        """Iteration, optimizer, scaler and average, as tensors and plain values."""
        state = super().state_dict()
        state["optimizer"] = self.optimizer.state_dict()
        state["grad_scaler"] = self.grad_scaler.state_dict()
        if self.balance is not None:
            state["balance"] = self.balance.state_dict()
        return state

    def load_state_dict(self, state: dict) -> None:
        """Take over a saved state."""
        super().load_state_dict(state)
        self.optimizer.load_state_dict(state["optimizer"])
        if state["grad_scaler"]:
            self.grad_scaler.load_state_dict(state["grad_scaler"])
        if self.balance is not None:
            self.balance.load_state_dict(state.get("balance", {}))


def _unwrapped(model: nn.Module) -> nn.Module:
    return model.module if isinstance(model, DistributedDataParallel) else model
