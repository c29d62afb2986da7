import pytest
import torch
from scipy.spatial.distance import directed_hausdorff

from physseg.analysis.category_similarity import PAPER, category_similarity, hausdorff_similarity

VECTORS = {"cat": [1.0, 0.0], "dog": [0.8, 0.6], "fog": [0.0, 2.0]}


def encode(names):
    return torch.tensor([VECTORS[name] for name in names])


def test_by_hand():
    result = category_similarity(["cat", "dog"], ["fog", "cat"], encode)
    assert result.hausdorff == pytest.approx(0.8)
    assert (result.farthest, result.nearest_to_farthest) == ("dog", "cat")
    assert result.mean == pytest.approx(0.9)
    # Back: fog's nearest is dog, at 0.6.
    assert result.reverse == pytest.approx(0.6)
    assert result.symmetric == pytest.approx(0.6)


def test_a_part_of_the_training_vocabulary_is_fully_similar():
    assert category_similarity(["dog"], ["cat", "dog", "fog"], encode).hausdorff == pytest.approx(1.0)


def test_agrees_with_scipys_directed_hausdorff():
    # On the unit sphere |a - b|^2 = 2 (1 - cos): both distances order points alike.
    a, b = (torch.nn.functional.normalize(torch.randn(n, 16), dim=1) for n in (9, 14))
    expected = 1 - directed_hausdorff(a.numpy(), b.numpy())[0] ** 2 / 2
    assert hausdorff_similarity(5 * a, b) == pytest.approx(expected, abs=1e-5)


def test_empty_vocabulary():
    with pytest.raises(ValueError, match="both vocabularies need at least one class name"):
        category_similarity([], ["cat"], encode)


def test_toy_vocabularies_order_as_the_real_ones():
    from physseg.data.specs import TOY, get_spec

    # One-hot words: a stand-in for CLIP under which sharing words is being similar.
    words = sorted({w for key in (*TOY, "toy_coco_stuff") for n in get_spec(key).vocabulary for w in n.split()})

    def bag_of_words(names):
        return torch.tensor([[float(w in name.split()) for w in words] for name in names])

    training = get_spec("toy_coco_stuff").vocabulary
    mean = {key: category_similarity(get_spec(f"toy_{key}").vocabulary, training, bag_of_words).mean for key in PAPER}
    assert mean["pas20"] == max(mean.values())
    assert min(mean["a847"], mean["pc459"]) == min(mean.values())
