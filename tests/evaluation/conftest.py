import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from physseg.config import add_physseg_config

CLASSES = ["sky", "grass, lawn", "cow"]


class FakeModel(torch.nn.Module):
    """Predicts the class that the image's file name and one parameter decide, for every pixel."""

    def __init__(self, shift: int = 0):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.tensor(float(shift)))
        self.seen: list[str] = []
        self.fail_after: int | None = None

    def forward(self, inputs):
        outputs = []
        for x in inputs:
            if self.fail_after is not None and len(self.seen) == self.fail_after:
                raise KeyboardInterrupt
            self.seen.append(x["file_name"])
            count = len(x["vocabulary"])
            number = int(x["file_name"].rsplit("_", 1)[1].removesuffix(".jpg")) + int(self.shift)
            scores = torch.zeros(count, x["height"], x["width"])
            scores[number % count, :, : x["width"] // 2] = 0.9
            scores[(number + 1) % count, :, x["width"] // 2 :] = 0.8
            outputs.append({"labels": scores.argmax(0)} if x.get("output") == "labels" else {"sem_seg": scores})
        return outputs


@pytest.fixture
def model():
    return FakeModel()


@pytest.fixture
def cfg():
    cfg = get_cfg()
    add_physseg_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.WEIGHTS = ""
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATASETS.TRAIN = ("physseg_test_train",)
    cfg.INPUT.MIN_SIZE_TEST = 16
    return cfg


@pytest.fixture
def benchmarks(tmp_path, cfg):
    """Two registered benchmarks of five small images, the second with background folding; their names."""
    rng = np.random.default_rng(0)
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    records = []
    for i in range(5):
        image, label = images / f"img_{i}.jpg", labels / f"img_{i}.png"
        Image.fromarray(rng.integers(0, 255, (12, 16 + i, 3), dtype=np.uint8)).save(image)
        values = rng.integers(0, 3, (12, 16 + i)).astype(np.uint8)
        values[:2] = 255
        Image.fromarray(values).save(label)
        records.append({"file_name": str(image), "sem_seg_file_name": str(label)})
    common = {"ignore_label": 255, "image_root": str(images), "sem_seg_root": str(labels)}
    specs = {
        "physseg_test_plain": dict(stuff_classes=CLASSES, vocabulary=CLASSES, evaluator_type="sem_seg"),
        "physseg_test_folded": dict(
            stuff_classes=["sky", "cow", "background"],
            vocabulary=["sky", "cow", "tree", "wall"],
            evaluator_type="sem_seg_background",
        ),
    }
    for name, metadata in specs.items():
        DatasetCatalog.register(name, lambda: [dict(record) for record in records])
        MetadataCatalog.get(name).set(**metadata, **common)
    MetadataCatalog.get("physseg_test_train").set(stuff_classes=["grass", "wall"])
    yield list(specs)
    for name in specs:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    MetadataCatalog.remove("physseg_test_train")
