"""The whole model on a pretended GPU: equal numbers, no tensor on the wrong device, and no wait but the known ones."""

import multiprocessing
from collections import Counter

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from PIL import Image

from physseg.config import load_config
from physseg.engine.ema import WeightEMA
from physseg.engine.optimizer import build_optimizer
from physseg.engine.train_step import StepOptions, TrainStep
from physseg.evaluation.evaluator import SegmentationEvaluator
from physseg.inference.predictor import Predictor
from physseg.modeling.meta_arch import PhysSeg
from tests.pretended_gpu import DEVICE, Wait, pretended_gpu

CONFIG = "configs/toy.yaml"
NAMES = ("sky", "grass, lawn", "cow", "tree", "fence")
SMALL = (
    *("MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", "cpu", "MODEL.CLIP.IMAGE_SIZE", 48, "MODEL.AGGREGATION.WINDOW", 3),
    *("MODEL.AGGREGATION.LAYERS", 1, "MODEL.STRUCTURE.DIM", 16, "INPUT.MIN_SIZE_TEST", 48),
)
# The one wait of a training step: losses and the gradient's norm come to the host together, before the update.
THE_WAIT = Wait("copy to host", "physseg/engine/train_step.py:run_step")


def samples(count=2, size=48):
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "image": torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8),
            "sem_seg": torch.randint(0, len(NAMES), (size, size), generator=generator),
            "structure": torch.randint(0, 2, (1, size, size), generator=generator, dtype=torch.uint8),
        }
        for _ in range(count)
    ]


def train(device, *opts, steps=2):
    """Losses and gradient norms of a few iterations, the model's weights, and waits of the last iteration."""
    torch.manual_seed(0)
    cfg = load_config(CONFIG, [*SMALL, *opts])
    model = build_model(cfg).to(device)
    optimizer = build_optimizer(cfg, model)
    ema = WeightEMA(model, cfg.SOLVER.EMA.DECAY) if cfg.SOLVER.EMA.ENABLED else None
    step = TrainStep(model, optimizer, StepOptions.from_config(cfg), ema)
    step.start([samples()] * steps)
    logged = []
    with EventStorage() as storage:
        for step.iter in range(steps):
            waits = len(GPU.waits) if GPU else 0
            step.run_step()
            values = {name: value for name, (value, _) in storage.latest().items() if name != "data_time"}
            logged.append(values)
    weights = {name: value for name, value in model.state_dict().items() if value.is_floating_point()}
    weights |= {f"ema {name}": value for name, value in (ema.average if ema else {}).items()}
    return logged, weights, GPU.waits[waits:] if GPU else []


@pytest.fixture(autouse=True)
def names(tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    monkeypatch.setitem(globals(), "SMALL", (*SMALL, "MODEL.TEXT.VOCABULARY", tmp_path / "names.txt"))


GPU = None


@pytest.fixture
def gpu(monkeypatch):
    with pretended_gpu() as found:
        monkeypatch.setitem(globals(), "GPU", found)
        yield found


@pytest.fixture(scope="module")
def superpoint(tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("superpoint")
    torch.manual_seed(0)
    sizes = {"encoder_hidden_sizes": [8, 8, 8, 8], "decoder_hidden_size": 8, "descriptor_decoder_dim": 8}
    transformers.SuperPointForKeypointDetection(transformers.SuperPointConfig(**sizes)).save_pretrained(folder)
    return ["MODEL.STRUCTURE.SOURCES", ["superpoint"], "MODEL.STRUCTURE.SUPERPOINT.WEIGHTS", str(folder)]


VARIANTS = {
    "both losses": [],
    "accumulation, average, clipped by value, masked": [
        *("SOLVER.ACCUMULATION_STEPS", 2, "SOLVER.EMA.ENABLED", True, "MODEL.LOSS.IGNORED_PIXELS", "masked"),
        *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value"),
    ],
    "clipped tensor by tensor": ["SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"],
    "fewer classes than there are, frozen text": [
        *("MODEL.AGGREGATION.MAX_CLASSES", 3, "MODEL.CLIP.FINETUNE_TEXT", False),
    ],
    "sampled classes": ["MODEL.AGGREGATION.SAMPLE_CLASSES", 3],
}


@pytest.mark.parametrize("opts", VARIANTS.values(), ids=VARIANTS)
def test_training_equals_the_cpu_and_waits_once_a_step(opts, monkeypatch):
    expected, expected_weights, _ = train("cpu", *opts)
    with pretended_gpu() as gpu:
        monkeypatch.setitem(globals(), "GPU", gpu)
        logged, weights, waits = train(DEVICE, *opts)
        held = {name: value.held for name, value in weights.items()}
    for got, want in zip(logged, expected, strict=True):
        assert got == pytest.approx(want, rel=1e-4)
    for name, value in expected_weights.items():
        # Adam's first steps are of the learning rate's size whatever the gradient's: its sign may be rounding.
        torch.testing.assert_close(held[name], value, rtol=0, atol=4e-3, msg=name)
    assert waits == [THE_WAIT]
    assert gpu.copies["without a wait"] >= 2 * 2 * 3  # image, labels and structure of two samples in two steps


def test_mixed_precision_is_near_the_cpus_and_waits_once_a_step(monkeypatch):
    amp = ("SOLVER.AMP.ENABLED", True)
    exact, _, _ = train("cpu")
    expected, _, _ = train("cpu", *amp)
    with pretended_gpu() as gpu:
        monkeypatch.setitem(globals(), "GPU", gpu)
        logged, _, waits = train(DEVICE, *amp)
    assert waits == [THE_WAIT]
    for got, want, other in zip(logged, expected, exact, strict=True):
        assert got == pytest.approx(want, rel=0.02)
        assert got != pytest.approx(other, rel=1e-6)  # the casts are there


def test_superpoint_waits_where_it_must(gpu, superpoint):
    _, _, waits = train(DEVICE, *superpoint)
    # Keypoints are as many as there are; their network, transformers', asks for that.
    assert {w.where for w in waits if w != THE_WAIT} <= {"physseg/structure/superpoint.py:_batch"}
    assert waits.count(THE_WAIT) == 1


def test_a_loss_that_is_no_number_stops_before_the_weights(gpu):
    from physseg.engine.train_step import NonFiniteLossError

    cfg = load_config(CONFIG, list(SMALL))
    model = build_model(cfg).to(DEVICE)
    before = {name: value.held.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.decoder.head.bias.held.fill_(float("nan"))
    step = TrainStep(model, build_optimizer(cfg, model), StepOptions.from_config(cfg))
    step.start([samples()])
    step.iter = 0
    with EventStorage(), pytest.raises(NonFiniteLossError, match="loss_sem_seg = nan"):
        step.run_step()
    after = model.state_dict()
    assert all(torch.equal(after[name].held, value) for name, value in before.items() if name != "decoder.head.bias")


PREDICTIONS = {
    "plain": ["TEST.SLIDING_WINDOW", False],
    "windows": [
        *("TEST.SLIDING_WINDOW", True, "TEST.WINDOW_SIZE", 48, "TEST.WINDOW_STRIDE", 32, "TEST.WINDOW_CANVAS", 80),
    ],
}


@pytest.mark.parametrize("output", ["labels", "probabilities"])
@pytest.mark.parametrize("opts", PREDICTIONS.values(), ids=PREDICTIONS)
def test_predictions_equal_the_cpu_and_wait_for_nothing(opts, output, gpu):
    torch.manual_seed(0)
    model = build_model(load_config(CONFIG, [*SMALL, *opts])).eval()
    inputs = [{"image": samples(1)[0]["image"], "height": 50, "width": 60, "output": output}]
    (expected,) = model(inputs)
    model.to(DEVICE)
    model(inputs)  # the vocabulary's features are made
    gpu.waits.clear()
    (found,) = model(inputs)
    assert gpu.waits == []
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key].held, value, rtol=1e-4, atol=1e-5)


def test_predictor_waits_once_an_image(gpu, monkeypatch):
    monkeypatch.setattr("physseg.config.special_rules.Device.allows", lambda self, value: True)
    predictor = Predictor(CONFIG, opts=[*SMALL, "MODEL.DEVICE", str(DEVICE)])
    assert isinstance(predictor.model, PhysSeg)
    image = samples(1)[0]["image"].permute(1, 2, 0).numpy()
    predictor(image)
    gpu.waits.clear()
    result = predictor(image)["sem_seg"]
    assert Counter(gpu.waits) == {Wait("copy to host", "physseg/inference/predictor.py:<listcomp>"): 1}
    assert (result.device.type, tuple(result.shape)) == ("cpu", (len(NAMES), 48, 48))


EVALUATORS = {
    "plain": {},
    "folded": {"num_prompts": 5, "class_names": NAMES[:3], "fold_from": 2},
    "background": {"background": 0, "threshold": 0.5},
    "boundary IoU": {"boundary_dilation": 0.02},
}


@pytest.mark.parametrize("options", EVALUATORS.values(), ids=EVALUATORS)
def test_counting_equals_the_cpu_and_waits_for_label_map_and_counts(options, gpu, tmp_path):
    Image.fromarray(np.kron(np.array([[0, 1], [2, 255]], np.uint8), np.ones((9, 9), np.uint8))).save(tmp_path / "a.png")
    labels = torch.randint(0, 3, (18, 18))
    output = {"labels": labels, "scores": torch.rand(18, 18)}
    results = []
    for device in ("cpu", DEVICE):
        arguments = {"class_names": NAMES} | options
        evaluator = SegmentationEvaluator(
            "toy", ignore_label=255, label_files={"a": str(tmp_path / "a.png")}, device=device, **arguments
        )
        there = {key: value.to(device) for key, value in output.items()}
        gpu.waits.clear()
        evaluator.process([{"file_name": "a"}], [there])
        waits = list(gpu.waits)
        results.append(evaluator.evaluate()["sem_seg"])
    expected = {
        Wait("copy from host", "physseg/evaluation/evaluator.py:_count"): 1,
        Wait("copy to host", "physseg/evaluation/confusion.py:confusion_matrix"): 1,
    }
    if "boundary_dilation" in options:  # counted by OpenCV
        expected[Wait("copy to host", "physseg/evaluation/evaluator.py:_count")] = 1
    assert Counter(waits) == expected
    assert results[0] == pytest.approx(results[1], nan_ok=True)


def test_the_pretended_gpu_is_strict(gpu):
    there, here = torch.ones(3, device=DEVICE), torch.ones(3)
    with pytest.raises(RuntimeError, match="same device"):
        there + here
    assert torch.equal((there + 1).held, here + 1)
    gpu.waits.clear()
    assert (there.sum().item(), bool((there > 0).all())) == (3.0, True)
    there[there > 0], there.nonzero(), there.cpu(), here.to(DEVICE)
    kinds = ["item", "item", "boolean index", "nonzero", "copy to host", "copy from host"]
    assert [wait.what for wait in gpu.waits] == kinds
    here.to(DEVICE, non_blocking=True)
    assert len(gpu.waits) == len(kinds)


def test_a_process_forked_beside_the_device_can_train():
    def backward():
        torch.ones(1, requires_grad=True).backward()

    backward()
    process = multiprocessing.get_context("fork").Process(target=backward)
    process.start()
    process.join(100)
    assert process.exitcode == 0
