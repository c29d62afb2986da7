import numpy as np
import pytest

from physseg.toy_world.captions import (
    background_scene,
    random_prompt,
    sample_crop,
    sample_picture,
    single_object_scene,
)
from physseg.toy_world.vocabularies import BACKGROUNDS, COMPOSITIONS, swap_synonyms


@pytest.mark.parametrize(("sample", "side"), [(sample_crop, 48), (sample_picture, 96)])
def test_pairs(sample, side):
    rng = np.random.default_rng(0)
    several = 0
    for _ in range(40):
        pair = sample(rng)
        assert pair.image.shape == (side, side, 3)
        assert pair.image.dtype == np.uint8
        assert set(pair.named) <= set(pair.present)
        assert pair.present
        several += len(pair.named) > 1
        for index in pair.named:
            words = COMPOSITIONS[index].name.split()
            assert all(word in pair.caption or swap_synonyms(word) in pair.caption for word in words)
    assert several > 3


def test_pairs_repeat_by_seed():
    first, second = (sample_picture(np.random.default_rng(5)) for _ in range(2))
    assert first.caption == second.caption
    np.testing.assert_array_equal(first.image, second.image)


def test_prompts_vary():
    rng = np.random.default_rng(0)
    prompts = {random_prompt(rng, "red plain disc") for _ in range(200)}
    assert "A photo of a red plain disc in the scene" in prompts
    assert any("crimson" in prompt for prompt in prompts)


def test_single_object_scene_shows_the_object_it_names():
    scene, index = single_object_scene(np.random.default_rng(1))
    things = [region.composition for region in scene.regions if region.composition.is_thing]
    assert things == [COMPOSITIONS[index]]


def test_background_scene_shows_one_background():
    scene, index = background_scene(np.random.default_rng(1))
    assert [region.composition for region in scene.regions] == [COMPOSITIONS[index]]
    assert COMPOSITIONS[index] in BACKGROUNDS
