"""Records -> samples: the crop, which caption, nouns in templates, further targets."""

from collections import Counter

import numpy as np
import pytest
from PIL import Image

from physseg.data.loaders import seeded
from physseg.data.pairs.augmentations import CentreCrop, RandomResizedCrop
from physseg.data.pairs.mapper import PairMapper
from physseg.data.pairs.nouns import NounFinder


def record(tmp_path, **more):
    path = tmp_path / "picture.png"
    if not path.exists():
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    return {"file_name": str(path), "image_id": 7, "captions": ("one", "two", "three"), **more}


def test_a_sample(tmp_path):
    sample = PairMapper([CentreCrop(16)])(record(tmp_path))
    assert sample["image"].shape == (3, 16, 16)
    assert sample["image"].dtype.is_floating_point is False
    assert (sample["height"], sample["width"], sample["image_id"]) == (40, 60, 7)
    assert sample["caption"] in ("one", "two", "three")


def test_without_captions_there_is_none(tmp_path):
    images = record(tmp_path)
    del images["captions"]
    assert "caption" not in PairMapper([CentreCrop(16)], captions=False)(images)


def test_captions_are_drawn_evenly_and_by_the_seed(tmp_path):
    mapper, images = PairMapper([CentreCrop(4)]), record(tmp_path, array=np.zeros((8, 8, 3), np.uint8))

    def text(position):
        with seeded(0, position):
            return mapper(images)["caption"]

    found = Counter(text(position) for position in range(600))
    # Three standard deviations of a third of 600.
    assert all(abs(count - 200) < 35 for count in found.values())
    assert [text(p) for p in range(5)] == [text(p) for p in range(5)]


def test_the_middle_square(tmp_path):
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    crop = PairMapper([CentreCrop(10)], captions=False)(record(tmp_path, array=image))["image"]
    assert (crop == 200).all()


def test_random_crops_keep_to_area_and_aspect():
    np.random.seed(0)
    augmentation = RandomResizedCrop(8, (0.5, 1.0))
    for height, width in ((100, 100), (60, 90)):
        for _ in range(200):
            crop, resize = augmentation.get_transform(np.zeros((height, width, 3), np.uint8)).transforms
            assert 0.49 < crop.w * crop.h / (height * width) <= 1
            assert 0.73 < crop.w / crop.h < 1.36
            assert 0 <= crop.x0 <= width - crop.w
            assert 0 <= crop.y0 <= height - crop.h
            assert (resize.h, resize.w, resize.new_h, resize.new_w) == (crop.h, crop.w, 8, 8)


def test_a_long_image_gives_its_middle():
    np.random.seed(0)
    crop = RandomResizedCrop(8, (0.5, 1.0)).get_transform(np.zeros((20, 400, 3), np.uint8)).transforms[0]
    assert (crop.h, crop.w, crop.y0, crop.x0) == (20, 27, 0, 186)


def test_nouns_take_the_captions_place_in_a_template(tmp_path):
    finder = NounFinder(["cat", "fire hydrant", "fire"])
    mapper = PairMapper([CentreCrop(4)], find_nouns=finder, templates=("a photo of a {}.",))
    images = record(tmp_path, captions=("Two cats near a fire hydrant",))
    found = Counter(mapper(images)["caption"] for _ in range(300))
    assert set(found) == {"Two cats near a fire hydrant", "a photo of a cat.", "a photo of a fire hydrant."}
    assert min(found.values()) > 70
    # Nouns that came with the data are taken instead.
    known = {mapper(images | {"nouns": ("dog",)})["caption"] for _ in range(50)}
    assert known == {"Two cats near a fire hydrant", "a photo of a dog."}


def test_words_are_found_whole():
    finder = NounFinder(["cat", "bus", "traffic light"])
    assert finder("Buses, a category and TRAFFIC LIGHTS; cat, cats") == ["bus", "traffic light", "cat"]
    with pytest.raises(ValueError, match=r"INPUT\.PAIRS\.NOUNS"):
        NounFinder([" "])


def test_targets_of_the_crop(tmp_path):
    mapper = PairMapper([CentreCrop(6)], captions=False, targets={"mean": lambda crop: crop.mean(2)})
    sample = mapper(record(tmp_path))
    assert sample["mean"].shape == (6, 6)
    assert np.allclose(sample["mean"], sample["image"].double().mean(0))
