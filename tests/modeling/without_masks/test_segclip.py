"""SegCLIP on the toy CLIP; against the published implementation: test_golden_segclip.py."""

import numpy as np
import pytest
import torch

from physseg import SegCLIP, load_config
from physseg.engine.optimizer import build_optimizer
from physseg.modeling.without_masks.segclip import TrainingNoise
from tests.reached import reached_by
from tests.two_processes import check_two_processes_equal_one

OPTS = ("MODEL.DEVICE", "cpu", "MODEL.SEGCLIP.GROUPS", 3)
WORDS = ["red disc", "blue star", "green brick wall", "yellow tiled floor"]


def build(*opts):
    torch.manual_seed(0)
    return SegCLIP(load_config("configs/without_masks/segclip_toy.yaml", [*OPTS, *opts]))


def batch(count=4, side=96):
    rng = np.random.default_rng(0)
    return [
        {
            "image": torch.from_numpy(rng.integers(0, 256, (3, side, side), dtype=np.uint8)),
            "caption": f"a {WORDS[i % 4]}",
            "image_id": i,
            "superpixels": torch.from_numpy(rng.integers(0, 9, (12, 12))),
        }
        for i in range(count)
    ]


def test_gradients_reach_all_that_is_to_train_and_nothing_else():
    model = build().train()
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    frozen = {
        *("clip.model.visual.class_embedding", "clip.model.visual.positional_embedding"),
        *("clip.model.visual.conv1.weight", "clip.model.visual.ln_pre.weight", "clip.model.visual.ln_pre.bias"),
        *("clip.model.positional_embedding", "clip.model.token_embedding.weight", "clip.model.logit_scale"),
    }
    assert {name for name, _ in model.named_parameters()} - trained == frozen
    assert reached_by(sum(model(batch()).values()), model) == trained


def test_two_processes_give_the_losses_and_gradients_of_one(tmp_path):
    check_two_processes_equal_one(build, batch(), tmp_path)


def test_each_loss_reaches_its_own_parts():
    model = build().train()
    names = ["loss_contrastive", "loss_superpixel", "loss_reconstruction"]
    assert list(model(batch())) == names
    parts = {name: reached_by(model(batch())[name], model) for name in names}
    text = {name for name, _ in model.named_parameters() if name.startswith("clip.model.transformer.")}
    late = {
        name for name, _ in model.named_parameters() if name.startswith("clip.model.visual.transformer.resblocks.5")
    }
    branch = {name for name, _ in model.named_parameters() if name.startswith("reconstruction.")}
    assert text | late <= parts["loss_contrastive"]
    assert not branch & parts["loss_contrastive"]
    # The superpixel loss ends at the assignment.
    assert not (text | late | branch | {"grouping.fc1.weight", "grouping.value.weight"}) & parts["loss_superpixel"]
    assert {"grouping.centres", "grouping.key.weight"} <= parts["loss_superpixel"]
    assert branch | {"grouping.value.weight"} <= parts["loss_reconstruction"]
    assert not (text | late) & parts["loss_reconstruction"]


def test_losses_can_be_switched_off():
    off = ("MODEL.SEGCLIP.SUPERPIXELS.WEIGHT", 0, "MODEL.SEGCLIP.RECONSTRUCTION.WEIGHT", 0)
    model = build(*off).train()
    assert model.reconstruction is None
    samples = [{key: value for key, value in x.items() if key != "superpixels"} for x in batch()]
    assert list(model(samples)) == ["loss_contrastive"]
    with pytest.raises(KeyError, match=r"SUPERPIXELS\.WEIGHT 0 does without"):
        build().train()(samples)


def test_weights_scale_the_losses(monkeypatch):
    plain = build().train()
    weighted = build("MODEL.SEGCLIP.SUPERPIXELS.WEIGHT", 3, "MODEL.SEGCLIP.RECONSTRUCTION.WEIGHT", 0.5).train()
    noise = plain.draw_noise(4, 144)
    for model in (plain, weighted):
        monkeypatch.setattr(model, "draw_noise", lambda *_: noise)
    one, other = plain(batch()), weighted(batch())
    factors = {name: (other[name] / one[name]).item() for name in one}
    assert factors == pytest.approx({"loss_contrastive": 1, "loss_superpixel": 3, "loss_reconstruction": 0.5})


def test_learning_rates_follow_the_published_groups():
    model = build()
    cfg = load_config(
        "configs/without_masks/segclip_toy.yaml", [*OPTS, "SOLVER.BASE_LR", 4e-3, "SOLVER.CLIP_MULTIPLIER", 1e-3]
    )
    optimizer = build_optimizer(cfg, model)
    names = {id(p): name for name, p in model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    small = {name for name, rate in rates.items() if rate == pytest.approx(4e-6)}
    assert all(rate == pytest.approx(4e-6) or rate == pytest.approx(4e-3) for rate in rates.values())
    early = tuple(f"clip.model.visual.transformer.resblocks.{i}." for i in range(4))
    text = ("clip.model.transformer.", "clip.model.ln_final.", "clip.model.text_projection", "contrastive.log_scale")
    assert small == {name for name in rates if name.startswith((*early, *text))}
    assert optimizer.defaults["betas"] == (0.9, 0.98)
    assert optimizer.defaults["eps"] == 1e-6


def test_a_batch_in_parts_is_the_whole_batch(monkeypatch):
    """Every image gets the same random numbers, in whichever part it stands."""
    results = []
    for parts in (1, 2):
        model = build("SOLVER.IMS_PER_BATCH", 4, "SOLVER.ACCUMULATION_STEPS", parts).double().train()
        torch.manual_seed(1)
        noise = [row.double() for row in model.draw_noise(1, 144)]
        monkeypatch.setattr(
            model, "draw_noise", lambda b, _, noise=noise: TrainingNoise(*(x.expand(b, *x.shape[1:]) for x in noise))
        )
        losses = model(batch())
        sum(losses.values()).backward()
        grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append(({name: loss.item() for name, loss in losses.items()}, grads))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-6)
    for name, gradient in results[0][1].items():
        assert torch.allclose(gradient, results[1][1][name], rtol=1e-4, atol=1e-7), name


def test_any_size_and_any_words(image):
    model = build().eval()
    (whole,) = model([{"image": image, "vocabulary": WORDS, "height": 50, "width": 70}])
    values = whole["sem_seg"]
    assert values.shape == (4, 50, 70)
    assert ((values >= 0) & (values <= 1)).all()
    (labels,) = model([{"image": image, "vocabulary": WORDS, "output": "labels"}])
    (full,) = model([{"image": image, "vocabulary": WORDS}])
    assert torch.equal(labels["labels"], full["sem_seg"].argmax(0))
    assert torch.equal(labels["scores"], full["sem_seg"].amax(0))
    encoded = model.predict_encoded(model.encode_image({"image": image}), WORDS, "labels")
    assert torch.equal(encoded["labels"], labels["labels"])


def test_a_batch_is_its_images_one_by_one(image):
    model = build("TEST.SLIDING_WINDOW", False).eval()
    inputs = [
        {"image": image, "vocabulary": WORDS},
        {"image": image.flip(2), "vocabulary": WORDS[:2]},
        {"image": image},
    ]
    together = model(inputs)
    for x, result in zip(inputs, together, strict=True):
        assert torch.equal(model([x])[0]["sem_seg"], result["sem_seg"])
    assert len(together[2]["sem_seg"]) == len(model.vocabulary)


def test_a_background_has_no_words_where_there_is_a_threshold(image):
    x = {"image": image, "vocabulary": ["anything", *WORDS], "background": 0, "dataset": "toy_voc_21_val_sem_seg"}
    plain = build().eval()
    (result,) = plain([x])
    assert torch.equal(result["sem_seg"], plain([{key: x[key] for key in ("image", "vocabulary")}])[0]["sem_seg"])
    override = ["toy_voc21", "MODEL.GROUPS.BACKGROUND_THRESHOLD", 1.0]
    model = build("TEST.OVERRIDES", [override], "TEST.SLIDING_WINDOW", False).eval()
    (result,) = model([x])
    (named,) = model([{"image": image, "vocabulary": WORDS}])
    assert torch.equal(result["sem_seg"][1:], named["sem_seg"])
    # Threshold 1: everything but the group that fits best.
    best = named["sem_seg"].amax(0)
    assert torch.equal(result["sem_seg"][0] == 1, best < best.max())
    # Another data set has another protocol.
    (other,) = model([x | {"dataset": "else"}])
    assert not torch.equal(other["sem_seg"], result["sem_seg"])


def test_training_goes_on_from_evaluation(image):
    """Text features kept in evaluation are dropped when the text encoder has trained."""
    model = build()
    model.eval()([{"image": image, "vocabulary": WORDS}])
    before = model.text_features(WORDS).clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    sum(model.train()(batch()).values()).backward()
    optimizer.step()
    assert not torch.allclose(model.eval().text_features(WORDS), before)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("MODEL.SEGCLIP.LATE_BLOCKS", 6), "has 6 blocks, 6 leave none before"),
        (("MODEL.CLIP.NAME", "PE-Core-B-16", "MODEL.CLIP.PRETRAINED", "", "INPUT.PAIRS.SIZE", 224), "plain CLIP"),
        (("INPUT.PAIRS.SIZE", 100), "INPUT.PAIRS.SIZE must be a multiple of the CLIP's patch size"),
        (("MODEL.SEGCLIP.RECONSTRUCTION.DIM", 66), "must be a multiple of 4 and of"),
        (("TEST.PATCH_ACCURACY", True), "which have groups"),
    ],
)
def test_what_does_not_fit_is_named(opts, message):
    with pytest.raises(ValueError, match=message):
        build(*opts)
