"""Scenes of the toy world: what stands where, and how it is drawn.

Units: a scene is laid out in reference pixels (short side 96 in a full scene); `render` draws it at any size, textures
included, so that a network fed 96 x 96 pixels sees the same scene whatever the file's size.

Letters: H, W output pixels; h, w pixels of one object's bounding box.
"""

from dataclasses import dataclass

import numpy as np

from physseg.toy_world import patterns
from physseg.toy_world.vocabularies import COMPOSITION_INDEX, Composition

RGB = {
    "red": (215, 35, 35),
    "green": (40, 165, 50),
    "blue": (40, 75, 220),
    "yellow": (240, 210, 30),
    "purple": (150, 50, 190),
    "white": (238, 238, 238),
}
_DARK_IN_THINGS = 0.25  # second tone of a thing's texture, times its colour
_DARK_IN_BACKGROUNDS = 0.45
_BACKGROUND_GAIN = 0.8  # backgrounds are duller than things
_OUTLINE = 1.3  # reference pixels of dark rim around a thing


@dataclass(frozen=True)
class Region:
    """A thing (centre, radius, angle) or a background (half-plane or, with ``line`` None, everywhere)."""

    composition: Composition
    colour: tuple[float, float, float]  # jittered RGB
    pattern_scale: float
    pattern_angle: float
    phase: tuple[float, float]
    centre: tuple[float, float] = (0.0, 0.0)
    radius: float = 0.0
    angle: float = 0.0
    line: tuple[float, float, float] | None = None  # a, b, c: drawn where a x + b y > c


@dataclass(frozen=True)
class Scene:
    """Regions in painting order on a canvas of reference pixels, and the light on them."""

    width: float
    height: float
    regions: tuple[Region, ...]
    light: tuple[float, float, float]  # gain at the centre, change of gain towards right and bottom
    noise: float
    noise_seed: int


@dataclass(frozen=True)
class SceneStyle:
    """How `sample_scene` lays scenes out. Radii and sides are in reference pixels."""

    width: float = 96.0
    height: float = 96.0
    radius: tuple[float, float] = (17.0, 30.0)
    objects: tuple[int, int] = (1, 4)
    second_background: float = 0.6
    # Distance of two centres over the sum of their radii: below 1 they may overlap.
    spacing: float = 0.8
    # How far from the border centres keep, over the radius.
    margin: float = 0.8


@dataclass(frozen=True)
class Rendering:
    """image: uint8 (H, W, 3) RGB. layers: (composition index, bool mask (H, W)) in painting order, whole masks."""

    image: np.ndarray
    layers: list[tuple[int, np.ndarray]]

    def composition_map(self) -> np.ndarray:
        """int16 (H, W): index into COMPOSITIONS of what is visible at each pixel."""
        visible = np.full(self.image.shape[:2], -1, np.int16)
        for index, mask in self.layers:
            visible[mask] = index
        return visible


def sample_scene(
    rng: np.random.Generator,
    things: list[Composition],
    backgrounds: list[Composition],
    style: SceneStyle = SceneStyle(),
) -> Scene:
    """Draw a scene whose regions come from ``things`` and ``backgrounds``, all equally likely."""
    regions = [_background(rng, backgrounds[rng.integers(len(backgrounds))], None)]
    if rng.random() < style.second_background and len(backgrounds) > 1:
        others = [b for b in backgrounds if b != regions[0].composition]
        tilt = rng.uniform(-0.6, 0.6) + (np.pi / 2 if rng.random() < 0.7 else 0.0)
        a, b = np.cos(tilt), np.sin(tilt)
        x, y = style.width * rng.uniform(0.35, 0.65), style.height * rng.uniform(0.35, 0.65)
        regions.append(_background(rng, others[rng.integers(len(others))], (a, b, a * x + b * y)))
    regions += _sample_things(rng, things, style)
    light = (rng.uniform(0.78, 1.1), rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15))
    return Scene(style.width, style.height, tuple(regions), light, rng.uniform(1.0, 9.0), int(rng.integers(2**31)))


def _sample_things(rng: np.random.Generator, things: list[Composition], style: SceneStyle) -> list[Region]:
    count = int(rng.integers(style.objects[0], style.objects[1] + 1)) if things else 0
    placed: list[Region] = []
    order = rng.permutation(len(things))  # no name twice, unless there are fewer names than objects
    for k in range(count):
        radius = rng.uniform(*style.radius) * (1.0 if count < 3 else 0.85)
        edge_x, edge_y = (min(radius * style.margin, side / 2) for side in (style.width, style.height))
        for _attempt in range(12):
            x, y = rng.uniform(edge_x, style.width - edge_x), rng.uniform(edge_y, style.height - edge_y)
            gaps = (np.hypot(x - p.centre[0], y - p.centre[1]) - style.spacing * (radius + p.radius) for p in placed)
            if all(gap > 0 for gap in gaps):
                placed.append(_thing(rng, things[order[k % len(order)]], (x, y), radius))
                break
    return placed


def _look(rng: np.random.Generator, composition: Composition, gain: float) -> dict:
    base = np.asarray(RGB[composition.colour]) * gain * rng.uniform(0.88, 1.06)
    return {
        "composition": composition,
        "colour": tuple(np.clip(base + rng.normal(0, 9, 3), 0, 255)),
        "pattern_scale": rng.uniform(0.85, 1.2),
        "phase": tuple(rng.uniform(0, 64, 2)),
    }


def _thing(rng: np.random.Generator, composition: Composition, centre: tuple[float, float], radius: float) -> Region:
    # Shapes lean by up to 15 degrees: a square must not become a diamond, nor a plus an x.
    angle = rng.uniform(-0.26, 0.26)
    look = _look(rng, composition, 1.0)
    return Region(**look, pattern_angle=rng.uniform(0, np.pi), centre=centre, radius=radius, angle=angle)


def _background(rng: np.random.Generator, composition: Composition, line: tuple[float, float, float] | None) -> Region:
    return Region(**_look(rng, composition, _BACKGROUND_GAIN), pattern_angle=rng.uniform(-0.12, 0.12), line=line)


def render(scene: Scene, height: int, width: int) -> Rendering:
    """Draw a scene into ``height`` x ``width`` pixels; masks are exact, image edges one pixel soft."""
    scale_x, scale_y = width / scene.width, height / scene.height
    x = ((np.arange(width, dtype=np.float32) + 0.5) / scale_x)[None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5) / scale_y)[:, None]
    pixel = 2.0 / (scale_x + scale_y)  # reference pixels per output pixel
    canvas = np.zeros((height, width, 3), np.float32)
    layers: list[tuple[int, np.ndarray]] = []
    for region in scene.regions:
        box = _bounding_box(region, scale_x, scale_y, height, width)
        rows, cols = box
        distance, tone = _paint(region, x[:, cols], y[rows], pixel)
        alpha = np.clip(0.5 - distance / pixel, 0.0, 1.0)[..., None]
        patch = canvas[rows, cols]
        patch += alpha * (tone[..., None] * np.asarray(region.colour, np.float32) - patch)
        mask = np.zeros((height, width), bool)
        mask[rows, cols] = distance < 0
        layers.append((COMPOSITION_INDEX[region.composition.name], mask))
    gain, right, down = scene.light
    canvas *= (gain + right * (x / scene.width - 0.5) + down * (y / scene.height - 0.5))[..., None]
    rng = np.random.Generator(np.random.SFC64(scene.noise_seed))
    canvas += rng.standard_normal(canvas.shape, np.float32) * scene.noise
    return Rendering(np.clip(canvas, 0, 255).astype(np.uint8), layers)


def _bounding_box(region: Region, scale_x: float, scale_y: float, height: int, width: int) -> tuple[slice, slice]:
    if region.radius == 0:
        return slice(0, height), slice(0, width)
    reach = region.radius * 1.5 + 2
    left, right = ((region.centre[0] + side * reach) * scale_x for side in (-1, 1))
    top, bottom = ((region.centre[1] + side * reach) * scale_y for side in (-1, 1))
    return (
        slice(min(max(int(top), 0), height), max(min(int(bottom) + 1, height), 0)),
        slice(min(max(int(left), 0), width), max(min(int(right) + 1, width), 0)),
    )


def _paint(region: Region, x: np.ndarray, y: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance to the region's border (negative inside) and texture tone in 0..1, both float32 (h, w)."""
    cos, sin = np.float32(np.cos(region.pattern_angle)), np.float32(np.sin(region.pattern_angle))
    size = np.float32(1 / region.pattern_scale)
    if region.radius == 0:
        u = (cos * x + sin * y) * size + np.float32(region.phase[0])
        v = (cos * y - sin * x) * size + np.float32(region.phase[1])
        if region.line is None:
            distance = np.full(u.shape, -np.inf, np.float32)
        else:
            a, b, c = (np.float32(value) for value in region.line)
            distance = c - a * x - b * y
        light = patterns.MATERIALS[region.composition.texture](u, v, pixel * size)
        return distance, _DARK_IN_BACKGROUNDS + (1 - _DARK_IN_BACKGROUNDS) * light
    dx, dy = x - np.float32(region.centre[0]), y - np.float32(region.centre[1])
    lean_cos, lean_sin = np.float32(np.cos(region.angle)), np.float32(np.sin(region.angle))
    radius = np.float32(region.radius)
    distance = patterns.SHAPES[region.composition.shape](
        (lean_cos * dx + lean_sin * dy) / radius, (lean_cos * dy - lean_sin * dx) / radius
    )
    distance = distance * radius
    u = (cos * dx + sin * dy) * size + np.float32(region.phase[0])
    v = (cos * dy - sin * dx) * size + np.float32(region.phase[1])
    light = patterns.TEXTURES[region.composition.texture](u, v, pixel * size)
    tone = _DARK_IN_THINGS + (1 - _DARK_IN_THINGS) * light
    rim = np.clip((distance + _OUTLINE) / pixel + 0.5, 0.0, 1.0)
    return distance, tone * (1 - 0.85 * rim)
