"""SuperPoint with a small random network saved to a local folder; the published weights are not needed."""

import sys

import pytest
import torch

from physseg.structure.options import SuperPointOptions
from physseg.structure.superpoint import SuperPointSource

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("superpoint")
    torch.manual_seed(0)
    config = transformers.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 8, 8], decoder_hidden_size=8, descriptor_decoder_dim=8
    )
    transformers.SuperPointForKeypointDetection(config).save_pretrained(path)
    return str(path)


def source(folder: str, radius: int = 0, threshold: float = 0.005) -> SuperPointSource:
    return SuperPointSource(SuperPointOptions(folder, threshold, radius))


def test_marks_the_keypoints_that_transformers_gives(folder):
    image = torch.randint(0, 256, (3, 48, 64), dtype=torch.uint8)
    (found,) = source(folder)([image])
    assert found.dtype == torch.uint8
    assert found.shape == (48, 64)
    model = transformers.SuperPointForKeypointDetection.from_pretrained(folder, max_keypoints=-1).eval()
    grey = (0.299 * image[0].float() + 0.587 * image[1] + 0.114 * image[2]) / 255
    with torch.no_grad():
        keypoints = model(grey.expand(1, 3, -1, -1)).keypoints[0]
    expected = {(round(y * 48), round(x * 64)) for x, y in keypoints.tolist()}
    assert len(expected) > 3
    assert {tuple(p) for p in found.nonzero().tolist()} == expected


def test_a_batch_of_mixed_sizes_equals_image_by_image(folder):
    detect = source(folder, radius=2)
    images = [torch.rand(3, *size) * 255 for size in ((32, 32), (40, 33), (32, 32))]
    for together, image in zip(detect(images), images, strict=True):
        assert torch.equal(together, detect([image])[0])


def test_radius_draws_discs(folder):
    image = torch.rand(3, 48, 48) * 255
    points, discs = source(folder, radius=0)([image])[0], source(folder, radius=1)([image])[0]
    grown = torch.nn.functional.conv2d(
        points[None, None].float(), torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])[None, None], padding=1
    )
    assert torch.equal(discs, (grown[0, 0] > 0).to(torch.uint8))


def test_no_keypoint_gives_an_empty_map(folder):
    assert not source(folder, threshold=0.99)([torch.zeros(3, 32, 32)])[0].any()


def test_fill_writes_one_channel(folder):
    images = [torch.rand(3, 32, 32) * 255 for _ in range(2)]
    structure = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    detect = source(folder)
    detect.fill(structure, images, channel=1)
    assert torch.equal(structure[:, 1], torch.stack(detect(images)))
    assert not structure[:, [0, 2]].any()


def test_fill_leaves_padding_empty(folder):
    image = torch.rand(3, 32, 40) * 255
    structure = torch.zeros(1, 1, 48, 48, dtype=torch.uint8)
    detect = source(folder)
    detect.fill(structure, [image], channel=0)
    assert torch.equal(structure[0, 0, :32, :40], detect([image])[0])
    assert not structure[0, 0, 32:].any()
    assert not structure[0, 0, :, 40:].any()


def test_absent_weights_name_the_key(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"SuperPoint's weights .*MODEL.STRUCTURE.SUPERPOINT.WEIGHTS"):
        source(str(tmp_path / "nothing"))([torch.zeros(3, 32, 32)])


def test_absent_weights_are_looked_for_once(tmp_path, monkeypatch):
    detect, image = source(str(tmp_path / "nothing")), torch.zeros(3, 32, 32)
    with pytest.raises(FileNotFoundError) as first:
        detect([image])
    monkeypatch.setattr("physseg.structure.superpoint.load_superpoint", pytest.fail)
    with pytest.raises(FileNotFoundError) as second:
        detect([image])
    assert second.value is first.value


def test_a_release_whose_keypoints_are_pixels_is_refused(monkeypatch, folder):
    monkeypatch.setattr("physseg.structure.superpoint.version", lambda _: "4.46.3")
    with pytest.raises(ImportError, match=r"needs transformers 4.47 or newer: run `pip install '.\[superpoint\]'"):
        source(folder)([torch.zeros(3, 32, 32)])


def test_absent_extra_says_what_to_install(monkeypatch, folder):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install '.\[superpoint\]'"):
        source(folder)([torch.zeros(3, 32, 32)])
