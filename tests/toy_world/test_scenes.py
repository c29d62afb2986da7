import numpy as np
import pytest

from physseg.toy_world.scenes import Region, Scene, SceneStyle, render, sample_scene
from physseg.toy_world.vocabularies import BACKGROUNDS, COMPOSITION_INDEX, SHAPES, THINGS, Composition


def region(composition, **place):
    look = {"colour": (200.0, 0.0, 0.0), "pattern_scale": 1.0, "pattern_angle": 0.0, "phase": (0.0, 0.0)}
    return Region(composition, **look, **place)


def plain_scene(*regions):
    return Scene(96, 96, regions, light=(1.0, 0.0, 0.0), noise=0.0, noise_seed=0)


WALL = Composition("red", "brick wall", "")


def test_same_seed_same_picture():
    first, second = (render(sample_scene(np.random.default_rng(7), THINGS, BACKGROUNDS), 96, 120) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.composition_map(), second.composition_map())
    other = render(sample_scene(np.random.default_rng(8), THINGS, BACKGROUNDS), 96, 120)
    assert (first.image != other.image).any()


# Areas in units of the squared radius. Square: half side 0.88. Cross: bars 0.76 x 2.16, once overlapping.
# Triangle: height 0.6 + 1.225, base 2 * 1.825 / 1.732. Star: ten triangles of tip 1.25 and notch 0.52.
@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("disc", np.pi),
        ("square", 1.76**2),
        ("triangle", 1.825**2 / 1.732),
        ("star", 5 * 1.25 * 0.52 * np.sin(np.pi / 5)),
        ("cross", 2 * 0.76 * 2.16 - 0.76**2),
    ],
)
def test_shape_areas(shape, area):
    thing = region(Composition("red", "plain", shape), centre=(48.0, 48.0), radius=30.0)
    mask = render(plain_scene(region(WALL), thing), 960, 960).layers[1][1]
    assert mask.sum() / 300.0**2 == pytest.approx(area, rel=0.01)


def test_later_regions_hide_earlier_ones():
    below = region(Composition("red", "plain", "disc"), centre=(40.0, 48.0), radius=20.0)
    above = region(Composition("blue", "plain", "square"), centre=(56.0, 48.0), radius=20.0)
    rendering = render(plain_scene(region(WALL), below, above), 96, 96)
    labels = rendering.composition_map()
    assert labels[48, 50] == COMPOSITION_INDEX["blue plain square"]
    assert rendering.layers[1][1][48, 50]  # the hidden part stays in the lower layer's mask
    assert labels[48, 25] == COMPOSITION_INDEX["red plain disc"]
    assert labels[0, 0] == COMPOSITION_INDEX["red brick wall"]


def test_second_background_covers_its_half_plane():
    floor = region(Composition("blue", "tiled floor", ""), line=(0.0, 1.0, 60.0))
    labels = render(plain_scene(region(WALL), floor), 96, 96).composition_map()
    assert (labels[:60] == COMPOSITION_INDEX["red brick wall"]).all()
    assert (labels[60:] == COMPOSITION_INDEX["blue tiled floor"]).all()


def test_size_of_the_file_does_not_change_the_scene():
    scene = sample_scene(np.random.default_rng(3), THINGS, BACKGROUNDS)
    small, large = render(scene, 96, 96).composition_map(), render(scene, 480, 480).composition_map()
    assert (large[2::5, 2::5] == small).mean() > 0.99


@pytest.mark.parametrize("texture", ["striped", "dotted", "checkered"])
def test_textures_have_two_tones_and_plain_one(texture):
    def tones(name):
        thing = region(Composition("red", name, "square"), centre=(48.0, 48.0), radius=40.0)
        return render(plain_scene(region(WALL), thing), 96, 96).image[20:76, 20:76, 0]

    assert set(np.unique(tones("plain"))) == {200}
    found = tones(texture)
    assert found.max() == 200
    assert found.min() == 50
    assert 0.1 < (found < 125).mean() < 0.6


def test_objects_stay_in_number_and_names():
    rng = np.random.default_rng(0)
    for _ in range(20):
        scene = sample_scene(rng, THINGS, BACKGROUNDS, SceneStyle(objects=(2, 4)))
        things = [r.composition for r in scene.regions if r.composition.is_thing]
        assert 1 <= len(things) <= 4
        assert len(set(things)) == len(things)
        assert all(thing.shape in SHAPES for thing in things)
