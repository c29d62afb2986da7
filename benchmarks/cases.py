"""What is measured: the model with random weights, and one function per case. Nothing is downloaded."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "reference")]

import plain_catseg  # noqa: E402

from physseg import PhysSeg, load_config  # noqa: E402
from physseg.data.vocabularies import get_vocabulary  # noqa: E402
from physseg.modeling.catseg.names import to_catseg  # noqa: E402

# Config, and the plain formulation's sizes.
VARIANTS = {
    "vitb16": ("catseg_vitb16.yaml", plain_catseg.VIT_B16),
    "vitl14": ("catseg_vitl14.yaml", plain_catseg.VIT_L14),
    # The published code does not run it.
    "vith14": ("catseg_vith14.yaml", plain_catseg.VIT_H14),
}
TEMPLATE = "A photo of a {} in the scene"


@dataclass(frozen=True)
class Case:
    """kind: "plain", "sliding", "train" or "text". The image is `height` x `width`, in training a square crop."""

    kind: str
    variant: str
    classes: int
    batch: int = 1
    height: int = 480
    width: int = 640
    opts: tuple[str, ...] = ()

    def title(self) -> str:
        what = {"plain": "inference", "sliding": "sliding window", "train": "training step", "text": "text encoding"}
        return f"{what[self.kind]}, {self.classes} classes" + (f", batch {self.batch}" if self.batch > 1 else "")

    def to_dict(self) -> dict:
        return asdict(self)


def names(count: int) -> list[str]:
    """Class names: A-847's, and then the same again with a number."""
    known = get_vocabulary("a847")
    return [known[i] if i < len(known) else f"{known[i % len(known)].split(',')[0]} {i}" for i in range(count)]


def build_model(case: Case, device: str) -> PhysSeg:
    """The baseline with random weights; MODEL.WEIGHTS or CLIP's are not read."""
    overrides = ["MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", device, "TEST.SLIDING_WINDOW", case.kind == "sliding"]
    overrides += ["MODEL.STRUCTURE.ENABLED", False, "MODEL.PATCH_ALIGNMENT.ENABLED", False]
    cfg = load_config(ROOT / "configs" / VARIANTS[case.variant][0], [*overrides, *case.opts])
    model = PhysSeg(cfg).to(device)
    model.vocabulary = tuple(names(case.classes))
    return model.train(case.kind == "train")


def build_plain(case: Case, model: PhysSeg, device: str) -> nn.Module:
    """The plain formulation with the model's weights; the same of them train."""
    with torch.device(device):
        plain = plain_catseg.PlainCATSeg(VARIANTS[case.variant][1])
    weights, _ = to_catseg(model.state_dict())
    masks = {name: value for name, value in plain.state_dict().items() if name.endswith("attn_mask")}
    plain.load_state_dict(masks | weights)
    trained, _ = to_catseg({name: p for name, p in model.named_parameters() if p.requires_grad})
    for name, parameter in plain.named_parameters():
        parameter.requires_grad_(name in trained)
    return plain.to(device)


def fast_function(case: Case, model: PhysSeg) -> Callable[[], Tensor]:
    """One run of a case: text features, loss, or every pixel's highest probability (and its class).

    Text features are kept between images, as in evaluation.
    """
    generator = torch.Generator().manual_seed(0)
    if case.kind == "text":
        return torch.no_grad()(lambda: model.clip.encode_text(model.vocabulary)[:, 0])
    if case.kind == "train":
        images, labels = training_batch(case, generator)
        inputs = [{"image": image, "sem_seg": label} for image, label in zip(images, labels, strict=True)]

        def step() -> Tensor:
            model.zero_grad()
            loss = model(inputs)["loss_sem_seg"]
            loss.backward()
            return loss.detach()

        return step
    pictures = torch.rand(case.batch, 3, case.height, case.width, generator=generator) * 255
    inputs = [{"image": image, "output": "labels"} for image in pictures]
    model.text_features(model.vocabulary)
    return lambda: torch.stack([result["scores"] for result in model(inputs)])


def plain_function(case: Case, plain: nn.Module, tokenise: Callable, device: str) -> Callable[[], Tensor]:
    """The same run, computed the plain way: image by image."""
    generator = torch.Generator().manual_seed(0)
    prompts = [TEMPLATE.format(name.split(",")[0].strip()) for name in names(case.classes)]
    tokens = tokenise(prompts)[:, None].to(device)
    if case.kind == "text":
        return _no_grad_on(device, lambda: plain.text_features(tokens)[:, 0])
    if case.kind == "train":
        images, labels = (x.to(device) for x in training_batch(case, generator))

        def step() -> Tensor:
            plain.zero_grad()
            with torch.device(device):
                loss = plain.loss(images, tokens, labels)
            loss.backward()
            return loss.detach()

        return step
    pictures = (torch.rand(case.batch, 3, case.height, case.width, generator=generator) * 255).to(device)
    text = _no_grad_on(device, lambda: plain.text_features(tokens))()
    predict = plain.plain if case.kind == "plain" else plain.sliding
    return _no_grad_on(
        device, lambda: torch.stack([predict(image, text, case.height, case.width).max(0).values for image in pictures])
    )


def training_batch(case: Case, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (B, 3, 384, 384) and blocks of labels (B, 384, 384)."""
    images = torch.rand(case.batch, 3, 384, 384, generator=generator) * 255
    blocks = torch.randint(0, case.classes, (case.batch, 8, 8), generator=generator)
    return images, blocks.repeat_interleave(48, 1).repeat_interleave(48, 2)


def _no_grad_on(device: str, function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.no_grad(), torch.device(device):
            return function()

    return run


@contextlib.contextmanager
def stage_clocks(model: PhysSeg, clock: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Seconds spent in each stage while inside, by name."""
    spent: dict[str, float] = {}
    stages: dict[str, Sequence[nn.Module]] = {
        "CLIP": [model.clip],
        "guidance": [model.guidance],
        "spatial aggregation": [layer.spatial for layer in model.aggregation.layers],
        "class aggregation": [layer.classes for layer in model.aggregation.layers],
        "decoder": [model.decoder],
    }
    handles = []
    for name, modules in stages.items():
        spent[name] = 0.0
        began: list[float] = []

        def enter(*_: object, began: list[float] = began) -> None:
            began.append(clock())

        def leave(*_: object, name: str = name, began: list[float] = began) -> None:
            spent[name] += clock() - began.pop()

        for module in modules:
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield spent
    finally:
        for handle in handles:
            handle.remove()
