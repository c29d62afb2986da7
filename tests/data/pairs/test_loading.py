"""From DATASETS.TRAIN to batches of pairs: the loader of a config, whatever the processes and wherever resumed."""

import itertools

import pytest
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from torch import nn

from physseg.config import load_config
from physseg.data.loaders import build_train_loader
from physseg.data.pairs.sources import IMAGES, PAIRS, built_in_sources, declared_sources, find_source


class LearnsFromPairs(nn.Module):
    learns_from = PAIRS


class LearnsFromImages(nn.Module):
    learns_from = IMAGES


for model in (LearnsFromPairs, LearnsFromImages):
    if model.__name__ not in META_ARCH_REGISTRY:
        META_ARCH_REGISTRY.register(model)


def config(entry, *opts, model="LearnsFromPairs"):
    entry = {"name": "mine", **{key: str(value) for key, value in entry.items()}}
    base = ["MODEL.META_ARCHITECTURE", model, "DATASETS.TRAIN", ["mine"], "DATASETS.PAIRS", [entry]]
    base += ["DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 4, "INPUT.PAIRS.SIZE", 32]
    return load_config(None, [*base, *opts])


def take(cfg, iterations, start=0):
    batches = iter(build_train_loader(cfg, start))
    return [next(batches) for _ in range(iterations)]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


def pairs(write_pairs, count=6):
    path, folder = write_pairs([[f"picture {k}", f"number {k}"] for k in range(1, count + 1)])
    return {"captions": path, "images": folder}


def test_batches_of_pairs(write_pairs):
    entry = pairs(write_pairs)
    batches = take(config(entry), 3)
    assert all(len(batch) == 4 for batch in batches)
    for sample in flat(batches):
        number = int(sample["image_id"].removeprefix("mine/"))
        assert sample["caption"] in (f"picture {number}", f"number {number}")
        # The image is the caption's: its red channel is its number.
        assert (sample["image"][0] == number).all()
        assert sample["image"].shape == (3, 32, 32)
    # A pass is over all images.
    assert len({sample["image_id"] for sample in flat(batches)[:6]}) == 6


def test_resumed_batches_are_the_same(write_pairs):
    cfg = config(pairs(write_pairs))
    whole, rest = take(cfg, 5), take(cfg, 2, start=3)
    assert [[s["caption"] for s in batch] for batch in rest] == [[s["caption"] for s in batch] for batch in whole[3:]]


def test_two_processes_share_the_batch_of_one(write_pairs, monkeypatch):
    cfg = config(pairs(write_pairs))
    alone = [s["caption"] for s in flat(take(cfg, 2))]
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    halves = []
    for rank in range(2):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        halves.append([[s["caption"] for s in batch] for batch in take(cfg, 2)])
    assert alone == halves[0][0] + halves[1][0] + halves[0][1] + halves[1][1]


def test_each_caption_may_be_a_sample(write_pairs):
    batches = take(config(pairs(write_pairs), "DATASETS.CAPTIONS", "each"), 3)
    # 6 images with 2 captions each: 12 samples a pass, and siblings share their image's id.
    samples = flat(batches)
    assert len({s["caption"] for s in samples}) == 12
    assert len({s["image_id"] for s in samples}) == 6


def test_images_alone(write_pairs):
    _, folder = write_pairs([["a"], ["b"]])
    (batch,) = take(config({"images": folder}, model="LearnsFromImages"), 1)
    assert all("caption" not in sample for sample in batch)
    assert {sample["image_id"] for sample in batch} == {"mine/000000000001.png", "mine/000000000002.png"}
    # Captions do not disturb a model that reads none.
    (batch,) = take(config(pairs(write_pairs), model="LearnsFromImages"), 1)
    assert all("caption" not in sample for sample in batch)


def test_val2017_stays_apart(write_pairs, tmp_path):
    entry = pairs(write_pairs)
    held_out = tmp_path / "val.json"
    held_out.write_text('{"images": [{"id": 2, "file_name": "x"}, {"id": 5, "file_name": "y"}], "annotations": []}')
    samples = flat(take(config(entry | {"apart_from": held_out}), 4))
    assert {s["image_id"] for s in samples} == {"mine/1", "mine/3", "mine/4", "mine/6"}


def test_a_model_is_refused_what_it_cannot_learn_from(write_pairs):
    entry = pairs(write_pairs)
    with pytest.raises(ValueError, match=r"PhysSeg learns from label maps; DATASETS\.TRAIN holds image-caption pairs"):
        build_train_loader(config(entry, model="PhysSeg"))
    with pytest.raises(ValueError, match=r"LearnsFromPairs learns from image-caption pairs.*holds images: mine"):
        build_train_loader(config({"images": entry["images"]}))
    with pytest.raises(ValueError, match="holds label maps"):
        build_train_loader(config(entry, "DATASETS.TRAIN", ["toy_coco_stuff_train_sem_seg"]))
    with pytest.raises(ValueError, match=r"several kinds: mine \(image-caption pairs\), toy_coco"):
        build_train_loader(config(entry, "DATASETS.TRAIN", ["mine", "toy_coco_stuff_train_sem_seg"]))


def test_equal_captions_are_refused_before_training(write_pairs):
    path, folder = write_pairs([["the same"]] * 3)
    with pytest.raises(ValueError, match="mine: all 3 images have the same caption"):
        build_train_loader(config({"captions": path, "images": folder}))


def test_a_broken_image_is_replaced_and_counted(write_pairs):
    entry = pairs(write_pairs)
    (entry["images"] / "000000000003.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"000000000003\.png.*SKIP_BROKEN"):
        take(config(entry), 3)
    loader = build_train_loader(config(entry, "DATALOADER.SKIP_BROKEN", True))
    batches = iter(loader)
    samples = flat(next(batches) for _ in range(3))
    assert "mine/3" not in {sample["image_id"] for sample in samples}
    assert loader.skipped == 2


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"images": "x"}, "no name"),
        ({"name": "a", "image": "x"}, "unknown image"),
        ({"name": "a"}, "either images, a folder, or tars"),
        ({"name": "a", "images": "x", "tars": "y.tar"}, "either images, a folder, or tars"),
        ({"name": "a", "tars": "y.tar", "captions": "z"}, "tars hold their own"),
        ({"name": "a", "images": "x", "apart_from": "z"}, "goes with captions"),
        ({"name": "a", "tars": [1]}, "a path, a URL or a list"),
        ({"name": "toy_captions_train", "images": "x"}, "belongs to a data set of physseg"),
    ],
)
def test_wrong_entries(entry, message):
    cfg = load_config(None, ["DATASETS.PAIRS", [entry]])
    with pytest.raises(ValueError, match=rf"DATASETS\.PAIRS\[0\].*{message}"):
        declared_sources(cfg)


def test_paths_belong_to_the_file_that_names_them(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\ncaptions: c.json\nimages: pictures\n")
    source = find_source("mine", load_config(None, ["DATASETS.PAIRS", [str(path)]]))
    assert (source.captions, source.images) == (str(tmp_path / "c.json"), str(tmp_path / "pictures"))
    path.write_text("name: mine\ntars: [a.tar, 'https://x.org/b.tar', 'pipe:cat c.tar']\n")
    source = find_source("mine", load_config(None, ["DATASETS.PAIRS", [str(path)]]))
    assert source.tars == (str(tmp_path / "a.tar"), "https://x.org/b.tar", "pipe:cat c.tar")


def test_built_in_sets(tmp_path):
    sources = {source.name: source for source in built_in_sources(tmp_path)}
    train = sources["coco_2017_captions_train"]
    assert train.captions == str(tmp_path / "coco-stuff/annotations/captions_train2017.json")
    assert train.images == str(tmp_path / "coco-stuff/images/train2017")
    assert train.apart_from == str(tmp_path / "coco-stuff/annotations/captions_val2017.json")
