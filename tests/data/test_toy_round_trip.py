"""Scenes of the toy world, written as each real data set stores them, come back with the right train ids."""

import numpy as np
import pytest

from physseg.data.conversion import convert
from physseg.data.images import read_image, read_label_map
from physseg.toy_world import raw_formats
from physseg.toy_world.make import FOLDER
from physseg.toy_world.scenes import SceneStyle, render, sample_scene
from physseg.toy_world.vocabularies import COMPOSITION_INDEX, COMPOSITIONS, VOCABULARIES, first_synonym

FORMATS = {
    "toy_coco_stuff": ("toy_coco_stuff", "{:012d}", "train2017", raw_formats.write_coco_stuff),
    "toy_coco_stuff_val": ("toy_coco_stuff", "{:012d}", "val2017", raw_formats.write_coco_stuff),
    "toy_a847": ("toy_a847", "ADE_val_{:08d}", "val", raw_formats.write_ade_full),
    "toy_a150": ("toy_a150", "ADE_val_{:08d}", "validation", raw_formats.write_ade150),
    "toy_pc459": ("toy_pc459", "2008_{:06d}", "val", raw_formats.write_context),
    "toy_pc59": ("toy_pc59", "2008_{:06d}", "val", raw_formats.write_context),
    "toy_pas20": ("toy_pas20", "2007_{:06d}", "val", raw_formats.write_voc),
    "toy_pas20b": ("toy_pas20", "2007_{:06d}", "val", raw_formats.write_voc),
    "toy_voc21": ("toy_pas20", "2007_{:06d}", "val", raw_formats.write_voc),
    "toy_coco_object": ("toy_coco_stuff", "{:012d}", "val2017", raw_formats.write_coco_stuff),
}
SIZES = ((40, 56), (56, 40))


@pytest.mark.parametrize("key", FORMATS)
def test_round_trip(key, tmp_path, raw):
    table, pattern, split, write = FORMATS[key]
    spec = raw.sized(key, len(SIZES))
    raw_ids = {COMPOSITION_INDEX[first_synonym(row.name)]: row.raw_id for row in VOCABULARIES[table].rows}
    # One thing and one background that the table may not have: they must come out unlabelled.
    shown = [COMPOSITIONS[index] for index in [*list(raw_ids)[:3], *list(raw_ids)[-3:], 0, len(COMPOSITIONS) - 1]]
    things = [composition for composition in shown if composition.is_thing]
    backgrounds = [composition for composition in shown if not composition.is_thing]

    names, renderings, context = [], [], []
    for number, (height, width) in enumerate(SIZES):
        scale = 14 if write is raw_formats.write_ade_full and number else 1  # 784x560 is shrunk
        scene = sample_scene(np.random.default_rng(number), things, backgrounds, SceneStyle(width=width, height=height))
        rendering = render(scene, height * scale, width * scale)
        names.append(pattern.format(number + 1))
        renderings.append(rendering)
        write(tmp_path / FOLDER, names[-1], split, rendering, raw_ids)
        segments = raw_formats.context_segments(rendering, raw_ids)
        context.append((names[-1], "val", rendering.image.shape[:2], segments))
    if write is raw_formats.write_voc:
        raw_formats.write_voc_list(tmp_path / FOLDER, split, names)
    elif write is raw_formats.write_context:
        raw_formats.write_context_json(tmp_path / FOLDER, context, VOCABULARIES[table].rows)
    elif write is raw_formats.write_ade_full:
        raw_formats.write_ade_full_index(tmp_path / FOLDER, names)

    result = convert(spec, tmp_path, workers=1, progress=False)
    assert (result.converted, result.failures) == (len(SIZES), [])

    train_ids = {
        COMPOSITION_INDEX[first_synonym(name)]: i for i, name in enumerate(spec.classes) if name != "background"
    }
    unlabelled = spec.classes.index("background") if "background" in spec.classes else spec.ignore_label
    for name, rendering in zip(names, renderings, strict=True):
        found = read_label_map(spec.labels_path(tmp_path) / f"{name}{spec.label_ext}")
        image = read_image(spec.images_path(tmp_path) / f"{name}{spec.image_ext}")
        want = np.vectorize(lambda index: train_ids.get(index, unlabelled))(rendering.composition_map())
        if min(want.shape) > 512:
            height, width = (round(side / min(want.shape) * 512) for side in want.shape)
            rows, columns = (
                [x * old // new for x in range(new)] for old, new in zip(want.shape, (height, width), strict=True)
            )
            want = want[np.ix_(rows, columns)]
        assert found.shape == image.shape[:2] == want.shape
        # VOC also marks object borders void; elsewhere every pixel must agree.
        compared = found != 255 if write is raw_formats.write_voc else np.ones(found.shape, dtype=bool)
        np.testing.assert_array_equal(found[compared], want[compared])
        assert len(np.unique(found)) >= 2
        assert compared[want != spec.ignore_label].mean() > 0.5
