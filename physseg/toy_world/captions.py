"""Image-caption pairs of the toy world, over all 144 compositions, for pre-training the toy CLIP.

Like COCO, an image has several captions: a short one that names what stands out, and a full one that names every
region. No label map leaves this module.
"""

from dataclasses import dataclass

import numpy as np

from physseg.toy_world.scenes import Rendering, Scene, SceneStyle, render, sample_scene
from physseg.toy_world.vocabularies import BACKGROUNDS, COMPOSITIONS, SYNONYMS, THINGS

# The first is the one segmentation uses.
TEMPLATES = (
    "A photo of a {} in the scene",
    "a photo of a {}",
    "a {} in the scene",
    "a picture of a {}",
    "there is a {}",
    "a {}",
)
_FIRST_TEMPLATE_SHARE = 0.4
_SYNONYM_SHARE = 0.1
# A region is named if it covers at least this share of the picture.
_NAMED_SHARE = 0.025

CROP_SIDE = 48  # crops show half a scene's side at a scene's scale
SCENE_SIDE = 96

_CROP_OF_ONE = SceneStyle(CROP_SIDE, CROP_SIDE, radius=(14, 25), objects=(1, 1), second_background=0.3, margin=0.9)
_ONE = SceneStyle(radius=(16, 44), objects=(1, 1), second_background=0.4)
_MANY = SceneStyle()


@dataclass(frozen=True)
class Pair:
    """image: uint8 (S, S, 3) RGB. caption: text. named, present: composition indices named in it, and in the image."""

    image: np.ndarray
    caption: str
    named: tuple[int, ...]
    present: tuple[int, ...]


def random_prompt(rng: np.random.Generator, name: str) -> str:
    """A caption around a name, now and then with synonyms."""
    words = (SYNONYMS.get(w, w) if rng.random() < _SYNONYM_SHARE else w for w in name.split())
    return _random_template(rng).format(" ".join(words))


def sample_crop(rng: np.random.Generator) -> Pair:
    """A 48 x 48 picture: one object, one background, or a window on a scene with cut objects."""
    kind = rng.random()
    if kind < 0.65:
        return _single(rng, _CROP_OF_ONE)
    if kind < 0.75:
        return _background(rng, CROP_SIDE)
    scene = sample_scene(rng, THINGS, BACKGROUNDS, _MANY)
    rendering = render(scene, SCENE_SIDE, SCENE_SIDE)
    top, left = rng.integers(0, SCENE_SIDE - CROP_SIDE + 1, 2)
    window = np.s_[top : top + CROP_SIDE, left : left + CROP_SIDE]
    return _full(rng, Rendering(rendering.image[window], [(i, mask[window]) for i, mask in rendering.layers]))


def sample_picture(rng: np.random.Generator) -> Pair:
    """A 96 x 96 picture: one object of any size, one background, or a scene of several objects."""
    kind = rng.random()
    if kind < 0.35:
        return _single(rng, _ONE)
    if kind < 0.45:
        return _background(rng, SCENE_SIDE)
    # Files of the toy datasets are up to a third wider than high, or higher than wide.
    stretch = rng.uniform(1.0, 1.34)
    width, height = (stretch, 1.0) if rng.random() < 0.5 else (1.0, stretch)
    style = SceneStyle(width=SCENE_SIDE * width, height=SCENE_SIDE * height)
    return _full(rng, render(sample_scene(rng, THINGS, BACKGROUNDS, style), SCENE_SIDE, SCENE_SIDE))


def single_object_scene(rng: np.random.Generator) -> tuple[Scene, int]:
    """A scene with one object, and the object's composition index."""
    scene = sample_scene(rng, THINGS, BACKGROUNDS, _ONE)
    return scene, COMPOSITIONS.index(scene.regions[-1].composition)


def background_scene(rng: np.random.Generator, side: int = SCENE_SIDE) -> tuple[Scene, int]:
    """A scene of one background alone, and the background's composition index."""
    scene = sample_scene(rng, [], BACKGROUNDS, SceneStyle(side, side, second_background=0.0))
    return scene, COMPOSITIONS.index(scene.regions[0].composition)


def _random_template(rng: np.random.Generator) -> str:
    return TEMPLATES[0 if rng.random() < _FIRST_TEMPLATE_SHARE else int(rng.integers(1, len(TEMPLATES)))]


def _single(rng: np.random.Generator, style: SceneStyle) -> Pair:
    scene = sample_scene(rng, THINGS, BACKGROUNDS, style)
    rendering = render(scene, int(style.height), int(style.width))
    if rng.random() < 0.4:
        return _full(rng, rendering)
    thing = rendering.layers[-1][0]
    caption = random_prompt(rng, COMPOSITIONS[thing].name)
    return Pair(rendering.image, caption, (thing,), _visible(rendering))


def _background(rng: np.random.Generator, side: int) -> Pair:
    scene, index = background_scene(rng, side)
    image = render(scene, side, side).image
    return Pair(image, random_prompt(rng, COMPOSITIONS[index].name), (index,), (index,))


def _full(rng: np.random.Generator, rendering: Rendering) -> Pair:
    present = _visible(rendering)
    order = [int(i) for i in rng.permutation(present)]
    names = [COMPOSITIONS[i].name for i in order if COMPOSITIONS[i].is_thing]
    names += [COMPOSITIONS[i].name for i in order if not COMPOSITIONS[i].is_thing]
    listed = " and a ".join(filter(None, (", a ".join(names[:-1]), names[-1])))
    return Pair(rendering.image, random_prompt(rng, listed), present, present)


def _visible(rendering: Rendering) -> tuple[int, ...]:
    shares = (
        np.bincount(rendering.composition_map().ravel(), minlength=len(COMPOSITIONS)) / rendering.image[..., 0].size
    )
    return tuple(int(i) for i in np.flatnonzero(shares >= _NAMED_SHARE))
