import pytest
import torch
from detectron2.modeling import build_model

from physseg.config import load_config
from physseg.modeling.catseg.cost_volume import likeliest_classes
from physseg.modeling.catseg.keep_classes import ClassFilter, class_similarity, class_votes


def one_hot(classes, positions):
    """Four positions in a row, each like the classes given with the weights given; text features are the axes."""
    dense = torch.zeros(1, classes, 1, len(positions))
    for position, weights in enumerate(positions):
        for index, weight in weights.items():
            dense[0, index, 0, position] = weight
    return dense, torch.eye(classes).unsqueeze(1)


# Classes 0 and 1 share most positions; class 3 is at one alone, but there more than anything.
DENSE, TEXT = one_hot(5, [{0: 3, 1: 2, 2: 1}, {0: 3, 1: 2, 2: 1}, {1: 3, 0: 2, 2: 1}, {3: 9, 1: 1}])


def test_votes_by_hand():
    votes = class_votes(DENSE, TEXT)[0]
    # Class 0: first twice, second once. 1: first once, second three times. 2: third three times. 3: first once.
    # At the last position the third place is a tie of 0, 2 and 4, worth 0.01.
    expected = torch.tensor([2.1, 1.3, 0.03, 1.0, 0.0])
    torch.testing.assert_close(votes, expected, atol=0.012, rtol=0)
    assert ClassFilter(2, "votes")(DENSE, TEXT, 256).tolist() == [[0, 1]]
    assert ClassFilter(3, "votes")(DENSE, TEXT, 256).tolist() == [[0, 1, 3]]


def test_similarity_is_the_largest_anywhere():
    similarity = class_similarity(DENSE, TEXT)[0]
    first = 3 / 14**0.5
    torch.testing.assert_close(similarity, torch.tensor([first, first, 1 / 14**0.5, 9 / 82**0.5, 0.0]))
    assert ClassFilter(1)(DENSE, TEXT, 256).tolist() == [[3]]


def test_threshold_keeps_what_reaches_it_and_one_at_least():
    assert ClassFilter(5, "threshold", 0.9)(DENSE, TEXT, 256).tolist() == [[3]]
    assert ClassFilter(5, "threshold", 0.5)(DENSE, TEXT, 256).tolist() == [[0, 1, 3]]
    assert ClassFilter(2, "threshold", 0.5)(DENSE, TEXT, 256).shape == (1, 2)
    assert ClassFilter(5, "threshold", 0.999)(DENSE, TEXT, 256).tolist() == [[3]]
    assert ClassFilter(5, "threshold", -1.0)(DENSE, TEXT, 256) is None


@pytest.mark.parametrize("most", [0, 2, 5, 256])
def test_nothing_asked_for_is_todays_choice(most):
    found, expected = ClassFilter()(DENSE, TEXT, most), likeliest_classes(DENSE, TEXT, most)
    assert (found is None) == (expected is None)
    assert found is None or torch.equal(found, expected)


@pytest.mark.parametrize("rule", ["similarity", "votes", "threshold"])
def test_the_models_own_limit_holds_too(rule):
    assert ClassFilter(4, rule, -1.0)(DENSE, TEXT, 2).shape == (1, 2)
    assert ClassFilter(9, rule, -1.0)(DENSE, TEXT, 256) is None


def test_an_unknown_rule():
    with pytest.raises(ValueError, match=r"TEST.KEEP_RULE: expected one of \('similarity', 'votes', 'threshold'\)"):
        ClassFilter(1, "best")


def test_in_the_model():
    base = ["MODEL.CLIP.PRETRAINED", "", "MODEL.DEVICE", "cpu", "MODEL.CLIP.IMAGE_SIZE", 48]
    base += ["MODEL.AGGREGATION.WINDOW", 3, "MODEL.TEXT.VOCABULARY", "pas20", "MODEL.AGGREGATION.LAYERS", 1]
    inputs = [{"image": torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8)}]

    def predict(*opts):
        torch.manual_seed(0)
        return build_model(load_config("configs/toy.yaml", [*base, *opts])).eval()(inputs)[0]["sem_seg"]

    exact = predict()
    assert torch.equal(predict("TEST.KEEP_CLASSES", 20), exact)
    for rule in ("similarity", "votes"):
        few = predict("TEST.KEEP_CLASSES", 5, "TEST.KEEP_RULE", rule)
        assert (few.flatten(1).amax(1) > 1e-6).sum() == 5
