"""Words -> classes, against the whole softmax."""

import pytest
import torch

from physseg.modeling.word_prediction import word_prediction


def whole(logits, owners, scale):
    probabilities = (scale * logits).softmax(0)
    return torch.stack([probabilities[owners == c].amax(0) for c in range(int(owners[-1]) + 1)])


@pytest.fixture
def case():
    owners = torch.tensor([0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 9, 10, 11, 11])
    return torch.randn(19, 5, 7, dtype=torch.float64), owners


def test_a_class_is_its_best_word(case):
    logits, owners = case
    expected = whole(logits, owners, 3.0)
    found = word_prediction(lambda part: logits[part].clone(), owners, 3.0, 0.0, labels_only=False)["sem_seg"]
    torch.testing.assert_close(found, expected)
    result = word_prediction(lambda part: logits[part].clone(), owners, 3.0, 0.0, labels_only=True)
    assert torch.equal(result["labels"], expected.argmax(0))
    torch.testing.assert_close(result["scores"], expected.amax(0))


def test_labels_hold_a_few_words_at_a_time(case):
    logits, owners = case
    sizes = []

    def part_of(part):
        sizes.append(len(logits[part]))
        return logits[part].clone()

    word_prediction(part_of, owners, 3.0, 0.0, labels_only=True)
    assert sizes == [8, 8, 3]


def test_small_classes_fall_to_what_is_left():
    # Ten pixels: 2 of class 0, 7 of class 1, 1 of class 2, which is 1 of the 8 outside class 0.
    logits = torch.full((3, 1, 10), 0.0)
    logits[0, 0, :2] = logits[1, 0, 2:9] = logits[2, 0, 9] = 1.0
    logits[1, 0, 9] = 0.5
    owners = torch.arange(3)
    for threshold, last in ((0.12, 2), (0.13, 1)):
        result = word_prediction(lambda part: logits[part].clone(), owners, 2.0, threshold, labels_only=True)
        assert result["labels"][0].tolist() == [0, 0, *[1] * 7, last]
        # The softmax is over all words, dropped or not.
        expected = (2 * logits[:, 0, 9]).softmax(0)[last]
        torch.testing.assert_close(result["scores"][0, 9], expected)
        maps = word_prediction(lambda part: logits[part].clone(), owners, 2.0, threshold, labels_only=False)["sem_seg"]
        assert torch.equal(maps.argmax(0), result["labels"])
        assert bool(maps[2].any()) == (last == 2)


def test_without_foreground_nothing_is_dropped():
    logits = torch.tensor([2.0, 1.0]).view(2, 1, 1)
    result = word_prediction(lambda part: logits[part].clone(), torch.arange(2), 1.0, 0.1, labels_only=True)
    assert result["labels"].item() == 0


def test_doubtful_pixels_become_background(case):
    logits, owners = case
    others = (3.0 * logits[3:]).softmax(0)
    entropy = -(others * others.log()).sum(0)
    threshold = float(entropy.median())
    probabilities = word_prediction(lambda part: logits[part].clone(), owners, 3.0, 0.0, False, threshold)["sem_seg"]
    result = word_prediction(lambda part: logits[part].clone(), owners, 3.0, 0.0, True, threshold)
    background = entropy > threshold
    assert 0 < background.sum() < background.numel()
    assert torch.equal(result["labels"] == 0, background)
    assert torch.equal(probabilities.argmax(0), result["labels"])
    expected = whole(logits[3:], owners[3:] - 1, 3.0)
    torch.testing.assert_close(probabilities[1:], expected)
    torch.testing.assert_close(result["scores"], expected.amax(0).masked_fill(background, 1.0))


def test_the_background_alone_and_two_rules_for_it():
    logits = torch.zeros(2, 1, 1)
    with pytest.raises(ValueError, match="the background alone"):
        word_prediction(lambda part: logits[part], torch.tensor([0, 0]), 1.0, 0.0, True, 1.5)
    with pytest.raises(ValueError, match=r"two rules for the background"):
        word_prediction(lambda part: logits[part], torch.tensor([0, 1]), 1.0, 0.1, True, 1.5)
