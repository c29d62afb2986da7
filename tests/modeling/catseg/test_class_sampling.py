"""Class sampling in training: the choice by hand, the loss by a model that knows the sampled names alone."""

import copy

import pytest
import torch

from physseg.modeling.catseg.class_sampling import present_classes, sample_classes
from tests.reference import golden
from tests.reference.small import build_pair

T, K = 11, 5
IGNORED = 255


def labels(*classes: int) -> torch.Tensor:
    """Blocks of 16 pixels a side of a 48x48 map, as many as are named; the rest is unlabelled."""
    sem_seg = torch.full((3, 3), IGNORED)
    sem_seg.view(-1)[: len(classes)] = torch.tensor(classes)
    return sem_seg.repeat_interleave(16, 0).repeat_interleave(16, 1)


def samples(dtype=torch.float32):
    shown = ((7, 2, 7), (0, 9, 4))
    return [{"image": golden.image(48, 48, i).to(dtype), "sem_seg": labels(*ids)} for i, ids in enumerate(shown)]


def gradients(model) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_present_classes_by_hand():
    sem_seg = torch.tensor([[[0, 2, 2], [255, 255, 0]], [[3, 3, 3], [3, 3, 3]], [[255, 255, 255], [255, 255, 255]]])
    expected = torch.tensor([[True, False, True, False], [False, False, False, True], [False] * 4])
    assert torch.equal(present_classes(sem_seg, 4, IGNORED), expected)


def test_as_many_classes_as_the_ignored_value():
    sem_seg = torch.tensor([[[255, 300, 299]]])
    assert present_classes(sem_seg, 301, IGNORED).nonzero()[:, 1].tolist() == [299, 300]


# One position an image; its cosine to every class falls with the class's index, by the axis it is on.
DENSE = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]).view(1, 5, 1, 1)
TEXT = torch.eye(5).unsqueeze(1)


@pytest.mark.parametrize(
    ("shown", "keep", "chosen"),
    [
        ([], 2, [0, 1]),  # the likeliest
        ([4], 2, [0, 4]),  # the unlikeliest, which is shown, and the likeliest other
        ([3, 4], 3, [0, 3, 4]),
        ([1], 3, [0, 1, 2]),  # shown and likely is one place, not two
        ([2, 3, 4], 2, [2, 3]),  # more than there is room for: the likeliest of them, not class 0
    ],
)
def test_shown_classes_first_then_the_likeliest(shown, keep, chosen):
    sem_seg = torch.tensor([*shown, *[IGNORED] * (6 - len(shown))]).view(1, 2, 3)
    assert sample_classes(DENSE, TEXT, sem_seg, keep, IGNORED).tolist() == [chosen]
    # The opposite similarity, still the same classes shown.
    flipped = sample_classes(-DENSE, TEXT, sem_seg, keep, IGNORED)[0].tolist()
    assert set(shown) <= set(flipped) or set(flipped) <= set(shown)


@pytest.mark.parametrize("keep", [5, 6])
def test_no_choice_where_all_fit(keep):
    assert sample_classes(DENSE, TEXT, torch.zeros(1, 2, 2, dtype=torch.int64), keep, IGNORED) is None


def test_an_images_classes_do_not_depend_on_its_batch():
    model, _ = build_pair(T)
    dense = model.clip(model._training_images(samples())).dense
    sem_seg = torch.stack([x["sem_seg"] for x in samples()])
    text = model.text_features(model.vocabulary)
    together = sample_classes(dense, text, sem_seg, K, IGNORED)
    alone = [sample_classes(dense[i : i + 1], text, sem_seg[i : i + 1], K, IGNORED) for i in range(2)]
    assert torch.equal(together, torch.cat(alone))
    assert {7, 2} <= set(together[0].tolist())
    assert {0, 9, 4} <= set(together[1].tolist())


@pytest.mark.parametrize("sampled", [T, 100])
def test_all_classes_are_full_training_bit_for_bit(sampled):
    model, _ = build_pair(T)
    model.train()
    found = []
    for model.sampled_classes in (0, sampled):
        model.zero_grad()
        loss = model(samples())["loss_sem_seg"]
        loss.backward()
        found.append({"loss": loss.detach()} | gradients(model))
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_loss_is_that_of_a_model_that_knows_the_sampled_names_alone():
    """Over as many terms as there are classes: the others count as right everywhere."""
    model, _ = build_pair(T, dtype=torch.float64)
    x = samples(torch.float64)[0]
    dense = model.clip(model._training_images([x])).dense
    text = model.text_features(model.vocabulary)
    (chosen,) = sample_classes(dense, text, x["sem_seg"][None], K, IGNORED).tolist()
    few = copy.deepcopy(model)
    few.vocabulary = tuple(model.vocabulary[i] for i in chosen)
    renamed = x["sem_seg"].clone()
    for new, old in enumerate(chosen):
        renamed[x["sem_seg"] == old] = new
    model.sampled_classes = K
    found = model.train()([x])["loss_sem_seg"]
    expected = few.train()([{"image": x["image"], "sem_seg": renamed}])["loss_sem_seg"] * K / T
    found.backward()
    expected.backward()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    ours, theirs = gradients(model), gradients(few)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-7, atol=1e-12, msg=name)


def test_pixels_of_a_class_without_room_cost_a_constant():
    model, _ = build_pair(T)
    model.train()
    model.sampled_classes = 1
    x = {"image": golden.image(48, 48), "sem_seg": labels(3, 8, 8)}
    loss = model([x])["loss_sem_seg"]
    # One of the two shown is dropped: at least a block of 16x16 pixels at 100, over all pixels of the padded image.
    share = 16 * 16 / (64 * 64)
    assert loss > 100 * share / T
    loss.backward()
    assert all(gradient.isfinite().all() for gradient in gradients(model).values())


def test_a_batch_is_the_mean_of_its_images_as_processes_share_it():
    model, _ = build_pair(T, dtype=torch.float64)
    model.train()
    model.sampled_classes = K
    found = []
    for parts in ([samples(torch.float64)], [[x] for x in samples(torch.float64)]):
        model.zero_grad()
        for part in parts:
            (model(part)["loss_sem_seg"] / len(parts)).backward()
        found.append(gradients(model))
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-7, atol=1e-12, msg=name)


def test_a_resumed_training_goes_on_bit_for_bit():
    def start():
        model, _ = build_pair(T)
        model.sampled_classes = K
        return model.train(), torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 0.01)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(samples())["loss_sem_seg"].backward()
        optimizer.step()

    model, optimizer = start()
    step(model, optimizer)
    weights, moments = copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict())
    step(model, optimizer)
    torch.rand(7)  # whatever was drawn meanwhile
    again, its_optimizer = start()
    again.load_state_dict(weights)
    its_optimizer.load_state_dict(moments)
    step(again, its_optimizer)
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in again.state_dict().items())


def test_aggregation_sees_the_sampled_classes_alone():
    model, _ = build_pair(T)
    model.train()
    model.sampled_classes = K
    shapes = []
    model.aggregation.register_forward_pre_hook(lambda module, args: shapes.append(args[0].shape))
    model(samples())
    assert [tuple(shape[:2]) for shape in shapes] == [(2, K)]
