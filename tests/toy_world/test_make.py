import hashlib
import json
import pickle

import numpy as np
import pytest

from physseg.toy_world import make
from physseg.toy_world.vocabularies import COMPOSITIONS, VOCABULARIES


@pytest.fixture
def few_images(monkeypatch):
    """Three images per dataset, drawn in this process."""

    class InProcess:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def map(self, function, jobs, chunksize):
            return [function(job) for job in jobs if job[3] < 2 and job[2] != 2]

    monkeypatch.setattr(make, "worker_pool", InProcess)


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".mat"  # MATLAB files carry the time of writing
    }


def test_same_seed_same_files_and_finished_worlds_are_kept(tmp_path, few_images, monkeypatch):
    first = make.make_toy_world(tmp_path / "a", seed=1, progress=False)
    second = make.make_toy_world(tmp_path / "b", seed=1, progress=False)
    found = hashes(first)
    assert found == hashes(second)
    assert len(found) > 2 * 2 * 7
    monkeypatch.setattr(make, "_make_image", lambda job: pytest.fail("a finished world was written again"))
    assert make.make_toy_world(tmp_path / "a", seed=1, progress=False) == first


def test_another_seed_gives_other_images_and_is_refused_in_the_same_folder(tmp_path, few_images):
    first = make.make_toy_world(tmp_path / "a", seed=0, progress=False)
    other = make.make_toy_world(tmp_path / "b", seed=1, progress=False)
    image = "coco-stuff/images/train2017/000000000001.jpg"
    assert hashes(first)[image] != hashes(other)[image]
    with pytest.raises(FileExistsError, match=r"seed 0.*expected seed 1.*Remove the folder"):
        make.make_toy_world(tmp_path / "a", seed=1, progress=False)


def test_an_interrupted_world_is_finished(tmp_path, few_images, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(make, "_write_indices", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            make.make_toy_world(tmp_path, progress=False)
    manifest = tmp_path / "toy_world" / "toy_world.json"
    assert json.loads(manifest.read_text())["complete"] is False
    make.make_toy_world(tmp_path, progress=False)
    assert json.loads(manifest.read_text())["complete"] is True


def test_indices_list_every_image_and_name_the_split(tmp_path, few_images):
    folder = make.make_toy_world(tmp_path, progress=False)
    voc = (folder / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt").read_text().split()
    assert len(voc) == VOCABULARIES["toy_pas20"].num_val
    index = pickle.loads((folder / "ADE20K_2021_17_01/index_ade20k.pkl").read_bytes())
    split = [name.split("_")[1] for name in index["filename"]]
    assert split.count("val") == VOCABULARIES["toy_a847"].num_val
    assert split.count("train") > 0
    phases = [i["phase"] for i in json.loads((folder / "VOCdevkit/VOC2010/trainval_merged.json").read_text())["images"]]
    assert set(phases) == {"val", "train"}


def test_every_name_is_dealt_as_evenly_as_possible():
    names = list(range(7))
    dealt = [card for index in range(7) for card in make._deal(names, 3, seed=0, number=1, index=index)]
    assert np.bincount(dealt).tolist() == [3] * 7


def test_training_scenes_show_seen_names_only():
    training = make.sources()[0]
    own = set(make._names(training.key))
    for index in range(50):
        things, backgrounds = make._scene_names(training, 0, index, np.random.default_rng(index))
        assert set(things + backgrounds) <= own


def test_voc_shows_background_names_beside_its_own():
    voc = next(source for source in make.sources() if source.key == "toy_pas20")
    prompts = set(make._names("toy_pas20b"))
    shown = set()
    for index in range(50):
        things, backgrounds = make._scene_names(voc, 0, index, np.random.default_rng(index))
        assert all(COMPOSITIONS[i].is_thing for i in things)
        shown |= set(things + backgrounds)
    assert len(shown & prompts) > 20
    assert shown <= prompts
