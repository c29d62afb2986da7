"""Options of the pseudo ground truths, read from the config in one place."""

from dataclasses import dataclass, field

from detectron2.config import CfgNode

# Made in the data workers, or ahead of training; of these, SuperPoint by the model where it is not made ahead.
FILE_SOURCES = ("canny", "sift", "superpoint", "edge_gt")
SOURCES = (*FILE_SOURCES, "kornia_canny", "sobel")
# Not 0 or 1, but anything between.
SOFT_SOURCES = ("sobel",)
_MODEL_SOURCES = ("superpoint", "kornia_canny", "sobel")


@dataclass(frozen=True)
class CannyOptions:
    """``thresholds``: low and high, in units of the Sobel gradient of a 0-255 image; ``median_spread`` > 0 replaces
    them by (1 -/+ spread) times the image's median; ``sigma``: Gaussian blur before the gradient, in pixels (0: none).
    """

    thresholds: tuple[float, float] = (50.0, 150.0)
    median_spread: float = 0.0
    sigma: float = 1.0


@dataclass(frozen=True)
class SiftOptions:
    """Keypoints kept: ``response`` >= ``min_response`` and diameter in [``min_size``, ``max_size``] pixels; each is
    drawn as a disc of ``radius`` pixels.
    """

    min_response: float = 0.02
    min_size: float = 2.0
    max_size: float = 32.0
    radius: int = 2


@dataclass(frozen=True)
class SuperPointOptions:
    """``weights``: hub id or local folder; ``threshold``: least keypoint score in (0, 1); ``radius`` of the discs."""

    weights: str = "magic-leap-community/superpoint"
    threshold: float = 0.005
    radius: int = 2


@dataclass(frozen=True)
class SobelOptions:
    """``sigma``: Gaussian blur before the gradient, in pixels (0: none); ``saturation``: gradient, in the units of
    Canny's thresholds, from which on there is all of an edge.
    """

    sigma: float = 1.0
    saturation: float = 150.0


@dataclass(frozen=True)
class EdgeGtOptions:
    """``half_width``: pixels marked on each side of a boundary."""

    half_width: int = 1


@dataclass(frozen=True)
class StructureOptions:
    """What to compute and how. ``sources`` gives the order of the output channels.

    ``maps_sources`` are read from files under ``maps_root`` instead of computed on the crop (see `maps.py`).

    Raises:
        ValueError: a source is unknown, named twice or missing, or an option is out of its range.
    """

    sources: tuple[str, ...] = ("canny",)
    maps_root: str = ""
    maps_sources: tuple[str, ...] = ()
    canny: CannyOptions = field(default_factory=CannyOptions)
    sift: SiftOptions = field(default_factory=SiftOptions)
    superpoint: SuperPointOptions = field(default_factory=SuperPointOptions)
    edge_gt: EdgeGtOptions = field(default_factory=EdgeGtOptions)
    sobel: SobelOptions = field(default_factory=SobelOptions)

    def __post_init__(self) -> None:
        key = "MODEL.STRUCTURE"
        if not self.sources or len(set(self.sources)) != len(self.sources) or not set(self.sources) <= set(SOURCES):
            raise ValueError(
                f"{key}.SOURCES must name one or more of {list(SOURCES)}, each once; got {list(self.sources)}"
            )
        if not set(self.maps_sources) <= set(self.sources):
            raise ValueError(
                f"{key}.MAPS_SOURCES must be among {key}.SOURCES {list(self.sources)}; got {list(self.maps_sources)}"
            )
        if not set(self.maps_sources) <= set(FILE_SOURCES):
            raise ValueError(f"{key}.MAPS_SOURCES must be of {list(FILE_SOURCES)}; got {list(self.maps_sources)}")
        if self.maps_sources and not self.maps_root:
            raise ValueError(
                f"{key}.MAPS_SOURCES is {list(self.maps_sources)} but {key}.MAPS_ROOT is empty: "
                "give the folder that tools/make_structure_labels.py wrote"
            )
        low, high = self.canny.thresholds
        if not 0 <= low <= high:
            raise ValueError(f"{key}.CANNY.THRESHOLDS must be low <= high, both >= 0; got {[low, high]}")
        if not 0 <= self.canny.median_spread < 1:
            raise ValueError(f"{key}.CANNY.MEDIAN_SPREAD must be in [0, 1); got {self.canny.median_spread}")
        if self.canny.sigma < 0:
            raise ValueError(f"{key}.CANNY.SIGMA must be >= 0; got {self.canny.sigma}")
        if self.sobel.sigma < 0 or self.sobel.saturation <= 0:
            raise ValueError(f"{key}.SOBEL.SIGMA must be >= 0 and {key}.SOBEL.SATURATION > 0; got {self.sobel}")
        for name, radius in (("SIFT.RADIUS", self.sift.radius), ("SUPERPOINT.RADIUS", self.superpoint.radius)):
            if radius < 0:
                raise ValueError(f"{key}.{name} must be >= 0; got {radius}")
        if self.edge_gt.half_width < 1:
            raise ValueError(f"{key}.EDGE_GT.HALF_WIDTH must be >= 1; got {self.edge_gt.half_width}")

    @property
    def model_channels(self) -> dict[int, str]:
        """Channel -> source, for those that the model fills on its own device."""
        own = [source in _MODEL_SOURCES and source not in self.maps_sources for source in self.sources]
        return {channel: self.sources[channel] for channel in range(len(own)) if own[channel]}

    @property
    def soft(self) -> bool:
        """Whether a source's values lie between 0 and 1."""
        return any(source in SOFT_SOURCES for source in self.sources)


def structure_options(cfg: CfgNode) -> StructureOptions:
    """Read ``MODEL.STRUCTURE`` of a config.

    Raises:
        ValueError: see `StructureOptions`; the message names the key.
    """
    node = cfg.MODEL.STRUCTURE
    if len(node.CANNY.THRESHOLDS) != 2:
        raise ValueError(f"MODEL.STRUCTURE.CANNY.THRESHOLDS must be [low, high]; got {list(node.CANNY.THRESHOLDS)}")
    return StructureOptions(
        sources=tuple(node.SOURCES),
        maps_root=node.MAPS_ROOT,
        maps_sources=tuple(node.MAPS_SOURCES),
        canny=CannyOptions(tuple(node.CANNY.THRESHOLDS), node.CANNY.MEDIAN_SPREAD, node.CANNY.SIGMA),
        sift=SiftOptions(node.SIFT.MIN_RESPONSE, node.SIFT.MIN_SIZE, node.SIFT.MAX_SIZE, node.SIFT.RADIUS),
        superpoint=SuperPointOptions(node.SUPERPOINT.WEIGHTS, node.SUPERPOINT.THRESHOLD, node.SUPERPOINT.RADIUS),
        edge_gt=EdgeGtOptions(node.EDGE_GT.HALF_WIDTH),
        sobel=SobelOptions(node.SOBEL.SIGMA, node.SOBEL.SATURATION),
    )
