import numpy as np
import pytest
import torch

from physseg.evaluation.seen_unseen import nearest_similarity, normalised_names, seen_by_name, seen_unseen, split_miou


def test_names_are_compared_by_synonym_case_and_suffix():
    assert normalised_names("Building, edifice") == {"building", "edifice"}
    assert normalised_names("wall-other") == normalised_names("desk-stuff, wall") - {"desk"} == {"wall"}
    assert normalised_names("other") == {"other"}
    seen = seen_by_name(
        ["edifice", "hot-air balloon", "sofa", "wall"], ["building, edifice", "hot air balloon", "wall-brick"]
    )
    assert seen.tolist() == [True, True, False, False]


def test_split_leaves_absent_classes_out():
    result = split_miou(np.array([10.0, 30.0, np.nan, 50.0]), np.array([True, True, True, False]))
    assert result == {"seen": 20.0, "unseen": 50.0, "num_seen": 2, "num_unseen": 1}
    assert np.isnan(split_miou(np.array([1.0]), np.array([True]))["unseen"])


def test_nearest_similarity_normalises():
    training = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    values = nearest_similarity(torch.tensor([[5.0, 0.0], [1.0, 1.0], [-1.0, 0.0]]), training)
    np.testing.assert_allclose(values, [1.0, 2**-0.5, 0.0], atol=1e-6)


def test_both_splits():
    vectors = {"sofa": [1.0, 0.0], "couch": [1.0, 0.1], "cloud": [0.0, 1.0]}
    result = seen_unseen(
        [80.0, 20.0], ["sofa", "cloud"], ["couch"], lambda names: torch.tensor([vectors[n] for n in names])
    )
    assert result["by_name"]["num_seen"] == 0
    assert result["by_name"]["unseen"] == 50.0
    assert result["by_similarity"]["seen"] == 80.0
    assert result["by_similarity"]["unseen"] == 20.0
    assert result["by_similarity"]["similarity"] == pytest.approx([1 / 1.01**0.5, 0.1 / 1.01**0.5], abs=1e-5)
    assert "by_similarity" not in seen_unseen([80.0], ["sofa"], ["couch"])
