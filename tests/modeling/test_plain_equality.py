"""The fast formulation against the plain one of tests/reference, at small sizes."""

import pytest
import torch
import torch.nn.functional as F

from physseg.modeling.catseg.names import to_catseg
from tests.reference import golden
from tests.reference.small import WINDOW, WORDS, build_pair, tokens

# Classes: padded, exactly as many as class attention takes, and more: the likeliest ones are kept.
CLASSES = (5, 16, 24)
PRECISION = {torch.float32: 1e-4, torch.float64: 1e-9}


def labels(height: int, width: int, classes: int) -> torch.Tensor:
    """Blocks of every class, and an ignored strip."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    result = ((y // 7) * 5 + x // 9) % classes
    result[:4] = 255
    return result


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize(("classes", "templates"), [*((classes, 1) for classes in CLASSES), (24, 3)])
@torch.no_grad()
def test_logits(classes, templates, dtype):
    model, plain = build_pair(classes, templates, dtype)
    image = plain.normalise(golden.image(64, 96).to(dtype)[None])
    text = plain.text_features(tokens(model, model.vocabulary))
    found = model.text_features(model.vocabulary)
    torch.testing.assert_close(found, text, rtol=0, atol=PRECISION[dtype])
    expected = plain.logits(image, text, (1, 1))
    logits = model._logits(image, image, found).dense()
    assert (expected == -100).flatten(2).all(-1).sum() == max(classes - 16, 0)
    torch.testing.assert_close(logits, expected, rtol=0, atol=PRECISION[dtype])


@pytest.mark.parametrize(("classes", "window"), [(5, None), (24, None), (24, WINDOW)])
@torch.no_grad()
def test_predictions(classes, window):
    """An odd size, resized to another odd one; labels are the argmax, scores its probability."""
    model, plain = build_pair(classes, window=window)
    image = golden.image(37, 53)
    text = plain.text_features(tokens(model, model.vocabulary))
    expected = (plain.sliding if window else plain.plain)(image, text, 45, 61)
    x = {"image": image, "height": 45, "width": 61}
    found = model([x])[0]["sem_seg"]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    result = model([x | {"output": "labels"}])[0]
    assert torch.equal(result["labels"], found.argmax(0))
    torch.testing.assert_close(result["scores"], found.amax(0), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", PRECISION)
@pytest.mark.parametrize(("classes", "templates"), [(5, 1), (5, 3), (24, 1)])
def test_training(classes, templates, dtype):
    """Loss and every gradient, classes worked on in slices."""
    model, plain = build_pair(classes, templates, dtype, class_chunk=4)
    images = torch.stack([golden.image(52, 64, seed) for seed in (0, 1)]).to(dtype)
    sem_seg = torch.stack([labels(52, 64, classes), labels(52, 64, classes).flip(1)])
    model.train()
    found = model([{"image": i, "sem_seg": s} for i, s in zip(images, sem_seg, strict=True)])["loss_sem_seg"]
    found.backward()
    # The batch is padded to a multiple of 32, and its label map with the ignore value.
    expected = plain.loss(images, tokens(model, model.vocabulary), F.pad(sem_seg, (0, 0, 0, 12), value=255))
    expected.backward()
    tolerance, floor = {torch.float32: (1e-3, 1e-5), torch.float64: (1e-8, 1e-8)}[dtype]
    torch.testing.assert_close(found, expected, rtol=tolerance / 100, atol=0)
    fast, _ = to_catseg({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    compared = 0
    for name, parameter in plain.named_parameters():
        if not parameter.requires_grad:
            continue
        # The plain formulation never touches the last visual block's q; a key's bias has no influence on a softmax.
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        norm, error = gradient.norm().item(), (fast[name] - gradient).norm().item()
        assert error <= tolerance * max(norm, floor), f"{name}: {error} of {norm}"
        compared += 1
    assert compared == len(fast)


@pytest.mark.parametrize("output", ["probabilities", "labels"])
@torch.no_grad()
def test_images_of_different_sizes_together(output):
    model, _ = build_pair(24, class_chunk=1000)
    inputs = [{"image": golden.image(h, w, h), "output": output} for h, w in ((33, 64), (70, 41), (64, 64))]
    inputs[1]["vocabulary"] = ["sea", "road", "snow"]
    key = "labels" if output == "labels" else "sem_seg"
    for x, result in zip(inputs, model(inputs), strict=True):
        alone = model([x])[0][key]
        assert result[key].shape[-2:] == x["image"].shape[-2:]
        if output == "labels":
            assert (result[key] == alone).float().mean() > 0.999
        else:
            torch.testing.assert_close(result[key], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("window", [None, {"size": 40, "stride": 20, "canvas": 60, "keep_aspect": False}])
@torch.no_grad()
def test_slices_change_no_number(window):
    model, _ = build_pair(11, window=window)
    x = {"image": golden.image(40, 50)}
    results = []
    for model.class_chunk in (1, 3, 8, 1000):
        results.append(model([x])[0]["sem_seg"])
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-5)


def test_slices_change_no_gradient():
    # In double: a ReLU that rounding puts on the other side of zero is no error.
    model, _ = build_pair(11, dtype=torch.float64)
    model.train()
    x = {"image": golden.image(48, 48), "sem_seg": labels(64, 64, 11)[:48, :48]}
    gradients = []
    for model.class_chunk in (1, 3, 1000):
        model.zero_grad()
        model([x])["loss_sem_seg"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    for gradient in gradients[1:]:
        assert (gradient - gradients[0]).norm() <= 1e-12 * gradients[0].norm()


@torch.no_grad()
def test_a_second_vocabulary_in_the_same_process():
    model, plain = build_pair(5)
    image, other = golden.image(48, 64), ["sea", "road", "snow", "ice, glacier"]
    for words in (WORDS[:5], other, WORDS[:5]):
        text = plain.text_features(tokens(model, words))
        found = model([{"image": image, "vocabulary": list(words)}])[0]["sem_seg"]
        torch.testing.assert_close(found, plain.plain(image, text, 48, 64), rtol=0, atol=1e-4)


def test_text_features_follow_the_weights():
    """They are kept between images and made anew after a step of the optimizer or a load of weights."""
    model, _ = build_pair(5)
    first = model.text_features(model.vocabulary)
    assert model.text_features(model.vocabulary) is first
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model.train()
    model([{"image": golden.image(48, 48), "sem_seg": labels(48, 48, 5)}])["loss_sem_seg"].backward()
    optimizer.step()
    model.eval()
    second = model.text_features(model.vocabulary)
    assert not torch.allclose(second, first)
    with torch.no_grad():
        torch.testing.assert_close(second, model.clip.encode_text(model.vocabulary))
    model.load_state_dict(before)
    torch.testing.assert_close(model.text_features(model.vocabulary), first)


def test_ignored_pixels_left_out_of_the_loss():
    model, plain = build_pair(5, ignored_pixels="masked")
    image, sem_seg = golden.image(64, 64), labels(64, 64, 5)
    model.train()
    found = model([{"image": image, "sem_seg": sem_seg}])["loss_sem_seg"]
    logits = plain.logits(plain.normalise(image[None]), plain.text_features(tokens(model, model.vocabulary)), (2, 2))
    logits = F.interpolate(logits, size=(64, 64), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    kept = sem_seg != 255
    expected = F.binary_cross_entropy_with_logits(logits[kept], F.one_hot(sem_seg[kept], 5).float())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


@torch.no_grad()
def test_padding_cropped_before_the_resize():
    """A 48x32 image is padded to 64x32: the upper three quarters of the prediction show the image."""
    model, plain = build_pair(5, crop_padding=True)
    image = golden.image(48, 32)
    text = plain.text_features(tokens(model, model.vocabulary))
    expected = plain.plain(image, text, 64, 32)[:, :48]
    torch.testing.assert_close(model([{"image": image}])[0]["sem_seg"], expected, rtol=0, atol=1e-4)


@torch.no_grad()
def test_windows_of_an_image_that_keeps_its_aspect():
    """40x80 with its short side at 60 is 60x120: windows of 40 at 0, 20 by 0, 30, 60, 80; the whole at 20x40."""
    model, plain = build_pair(5, window={"size": 40, "stride": 30, "canvas": 60, "keep_aspect": True})
    image = golden.image(40, 80)
    text = plain.text_features(tokens(model, model.vocabulary))

    def resize(x, size):
        return F.interpolate(x[None], size=size, mode="bilinear", align_corners=False)[0]

    def probabilities(window):
        return resize(plain.logits(plain.normalise(window[None]), text, (1, 1))[0], (40, 40)).sigmoid()

    canvas = resize(image, (60, 120))
    total, count = torch.zeros(5, 60, 120), torch.zeros(60, 120)
    for y in (0, 20):
        for x in (0, 30, 60, 80):
            total[:, y : y + 40, x : x + 40] += probabilities(canvas[:, y : y + 40, x : x + 40])
            count[y : y + 40, x : x + 40] += 1
    # What lies beside the whole image in its window is black.
    whole = probabilities(F.pad(resize(image, (20, 40)), (0, 0, 0, 20)))[:, :20]
    expected = resize((total / count + resize(whole, (60, 120))) / 2, (40, 80))
    torch.testing.assert_close(model([{"image": image}])[0]["sem_seg"], expected, rtol=0, atol=1e-4)
