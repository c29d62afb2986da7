"""A picture of the toy world to try the toy model on."""

import numpy as np

from physseg.toy_world.captions import SCENE_SIDE
from physseg.toy_world.scenes import SceneStyle, render, sample_scene
from physseg.toy_world.vocabularies import BACKGROUNDS, COMPOSITIONS, THINGS

_STYLE = SceneStyle(width=SCENE_SIDE * 4 / 3, height=SCENE_SIDE, objects=(4, 4), second_background=1.0, spacing=1.0)


def toy_scene(seed: int = 0, height: int = 288) -> tuple[np.ndarray, list[str], np.ndarray]:
    """A scene of four things over two backgrounds, the same for the same seed.

    Args:
        height: H in pixels; the width W is 4/3 of it.

    Returns:
        image: uint8 (H, W, 3) RGB. names: what can be seen, by area. labels: int64 (H, W), the true index into names.
    """
    rendering = render(sample_scene(np.random.default_rng(seed), THINGS, BACKGROUNDS, _STYLE), height, height * 4 // 3)
    present, labels, areas = np.unique(rendering.composition_map(), return_inverse=True, return_counts=True)
    order = np.argsort(-areas)
    names = [COMPOSITIONS[index].name for index in present[order]]
    return rendering.image, names, np.argsort(order)[labels.reshape(rendering.image.shape[:2])]
