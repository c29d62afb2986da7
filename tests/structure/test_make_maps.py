"""Maps of a folder: resumable, several processes, broken files, other options."""

import json

import numpy as np
import pytest
from PIL import Image

from physseg import compat  # noqa: F401
from physseg.structure import StructureOptions
from physseg.structure.make_maps import make_maps, plan
from physseg.structure.maps import read_map
from physseg.structure.options import EdgeGtOptions

OPTIONS = StructureOptions(("canny", "edge_gt"))


@pytest.fixture
def records(tmp_path) -> list[dict]:
    made = []
    for index in range(3):
        labels = np.zeros((24, 32), np.uint8)
        labels[8:16, 8 + index : 20] = 1
        image, label = tmp_path / "data" / f"{index}.png", tmp_path / "labels" / f"{index}.png"
        image.parent.mkdir(exist_ok=True)
        label.parent.mkdir(exist_ok=True)
        Image.fromarray(labels * 200).convert("RGB").save(image)
        Image.fromarray(labels).save(label)
        made.append({"file_name": str(image), "sem_seg_file_name": str(label)})
    return made


def run(records, tmp_path, workers=1, options=OPTIONS) -> list[str | None]:
    jobs = plan(records, tmp_path / "data", tmp_path / "maps", options, 255)
    return list(make_maps(jobs, options, workers))


def files(tmp_path) -> dict[str, bytes]:
    return {str(p.relative_to(tmp_path)): p.read_bytes() for p in (tmp_path / "maps").rglob("*.png")}


def test_makes_every_map_once(records, tmp_path):
    assert run(records, tmp_path) == [None] * 3
    assert sorted(files(tmp_path)) == [f"maps/{s}/{i}.png.png" for s in ("canny", "edge_gt") for i in range(3)]
    edge = read_map(tmp_path / "maps" / "edge_gt" / "0.png.png")
    assert edge.shape == (24, 32)
    assert edge[7, 8:20].all()
    assert edge.sum() == 2 * (8 + 12) * 2 - 4  # both sides of a ring of 8x12, whose inner corners count once
    assert run(records, tmp_path) == []


def test_resumes_where_it_stopped(records, tmp_path):
    run(records, tmp_path)
    before = files(tmp_path)
    (tmp_path / "maps" / "canny" / "1.png.png").unlink()
    (job,) = plan(records, tmp_path / "data", tmp_path / "maps", OPTIONS, 255)
    assert list(job.targets) == ["canny"]
    assert run(records, tmp_path) == [None]
    assert files(tmp_path) == before


def test_processes_make_the_same_files(records, tmp_path):
    run(records, tmp_path)
    alone = files(tmp_path)
    for path in (tmp_path / "maps").rglob("*.png"):
        path.unlink()
    assert run(records, tmp_path, workers=2) == [None] * 3
    assert files(tmp_path) == alone


def test_a_broken_file_is_named_and_the_others_go_on(records, tmp_path):
    (tmp_path / "data" / "1.png").write_bytes(b"no image")
    first, broken, last = run(records, tmp_path)
    assert (first, last) == (None, None)
    assert "1.png" in broken
    assert len(files(tmp_path)) == 4


def test_other_options_in_the_same_folder_are_an_error(records, tmp_path):
    run(records, tmp_path)
    assert json.loads((tmp_path / "maps" / "edge_gt" / "options.json").read_text()) == {"half_width": 1}
    wider = StructureOptions(("edge_gt",), edge_gt=EdgeGtOptions(2))
    with pytest.raises(ValueError, match=r"edge_gt were made with \{'half_width': 1\}, now \{'half_width': 2\} is"):
        run(records, tmp_path, options=wider)
