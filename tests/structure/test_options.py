"""Options of the pseudo ground truths, from the config."""

import pytest

from physseg import compat  # noqa: F401
from physseg.config import add_physseg_config
from physseg.structure import StructureOptions, structure_options


def config():
    from detectron2.config import get_cfg

    cfg = get_cfg()
    add_physseg_config(cfg)
    return cfg


def test_defaults_of_config_and_options_agree():
    assert structure_options(config()) == StructureOptions()


def test_keys_reach_the_options():
    cfg = config()
    cfg.MODEL.STRUCTURE.SOURCES = ["sift", "superpoint"]
    cfg.MODEL.STRUCTURE.SIFT.RADIUS = 5
    cfg.MODEL.STRUCTURE.SUPERPOINT.WEIGHTS = "folder"
    options = structure_options(cfg)
    assert (options.sift.radius, options.superpoint.weights, options.model_channels) == (
        5,
        "folder",
        {1: "superpoint"},
    )


def test_superpoint_from_files_is_not_left_to_the_model():
    options = StructureOptions(("canny", "superpoint"), maps_root="maps", maps_sources=("superpoint",))
    assert options.model_channels == {}
    assert StructureOptions(("canny",)).model_channels == {}


def test_a_source_of_the_models_device_has_no_files():
    with pytest.raises(ValueError, match=r"MAPS_SOURCES must be of \['canny', .*\]; got \['sobel'\]"):
        StructureOptions(("sobel",), maps_root="maps", maps_sources=("sobel",))


def test_sources_of_the_models_device_are_its_own_channels():
    options = StructureOptions(("sobel", "canny", "kornia_canny"))
    assert options.model_channels == {0: "sobel", 2: "kornia_canny"}
    assert options.soft
    assert not StructureOptions(("canny", "kornia_canny")).soft


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("SOURCES", ["laplace"], r"MODEL.STRUCTURE.SOURCES must name one or more of .*; got \['laplace'\]"),
        ("SOURCES", ["canny", "canny"], "each once"),
        ("SOURCES", [], r"got \[\]"),
        ("MAPS_SOURCES", ["sift"], r"MODEL.STRUCTURE.MAPS_SOURCES must be among .*\['canny'\]; got \['sift'\]"),
        ("SOBEL.SATURATION", 0.0, "MODEL.STRUCTURE.SOBEL.SATURATION > 0"),
        ("MAPS_SOURCES", ["canny"], "MODEL.STRUCTURE.MAPS_ROOT is empty"),
        ("CANNY.THRESHOLDS", [200.0, 100.0], "MODEL.STRUCTURE.CANNY.THRESHOLDS must be low <= high"),
        ("CANNY.THRESHOLDS", [200.0], r"must be \[low, high\]; got \[200.0\]"),
        ("CANNY.MEDIAN_SPREAD", 1.5, r"MODEL.STRUCTURE.CANNY.MEDIAN_SPREAD must be in \[0, 1\)"),
        ("CANNY.SIGMA", -1.0, "MODEL.STRUCTURE.CANNY.SIGMA must be >= 0"),
        ("SIFT.RADIUS", -1, "MODEL.STRUCTURE.SIFT.RADIUS must be >= 0"),
        ("EDGE_GT.HALF_WIDTH", 0, "MODEL.STRUCTURE.EDGE_GT.HALF_WIDTH must be >= 1"),
    ],
)
def test_errors_name_the_key(key, value, message):
    cfg = config()
    cfg.merge_from_list([f"MODEL.STRUCTURE.{key}", value])
    with pytest.raises(ValueError, match=message):
        structure_options(cfg)
