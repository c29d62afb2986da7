import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from physseg import load_config
from physseg.evaluation.evaluator import label_map_metrics
from physseg.evaluation.extra_metrics import extra_metrics, metric_names


@pytest.fixture(scope="module")
def dataset():
    """Without images: every metric is there, with nothing to count."""
    name = "test_extra_metrics"
    DatasetCatalog.register(name, list)
    MetadataCatalog.get(name).set(ignore_label=255, stuff_classes=["a", "b"])
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


@pytest.mark.parametrize(
    ("key", "config"),
    [
        ("PATCH_ACCURACY", "catseg_toy"),
        ("GROUP_PURITY", "without_masks/segclip_toy"),
        ("POINTING_ACCURACY", "without_masks/pacl_toy"),
    ],
)
def test_what_a_key_turns_on_is_named_ahead(key, config, dataset):
    cfg = load_config(config, [f"TEST.{key}", True])
    found = extra_metrics(None, cfg, dataset, ["a"], list)
    assert found
    assert metric_names(cfg) == [*label_map_metrics(cfg), *found]
