import numpy as np
import pytest
import torch

from physseg.evaluation.image_counts import ImageCounts, ImageLog
from physseg.evaluation.metrics import segmentation_metrics


def random_counts(name, seed, classes=5):
    matrix = torch.randint(0, 4, (classes, classes), generator=torch.Generator().manual_seed(seed))
    boundary = np.random.default_rng(seed).integers(0, 3, (3, classes))
    return matrix, boundary, ImageCounts.from_matrix(name, matrix, boundary)


def test_add_and_take_back():
    matrix, boundary, counts = random_counts("a.jpg", 0)
    sums, edges = torch.ones(5, 5, dtype=torch.int64), torch.ones(3, 5, dtype=torch.int64)
    counts.add_to(sums, edges)
    assert torch.equal(sums, matrix + 1)
    assert torch.equal(edges, torch.from_numpy(boundary) + 1)
    counts.add_to(sums, edges, sign=-1)
    assert torch.equal(sums, torch.ones(5, 5, dtype=torch.int64))
    assert torch.equal(edges, torch.ones(3, 5, dtype=torch.int64))


def test_miou_of_an_image():
    matrix, _, counts = random_counts("a.jpg", 1)
    assert counts.miou() == pytest.approx(segmentation_metrics(matrix).miou)
    assert np.isnan(ImageCounts("b.jpg", [], [], []).miou())


def test_log_round_trip_and_torn_line(tmp_path):
    entries = [random_counts(f"{i}.jpg", i)[2] for i in range(3)]
    log = ImageLog(tmp_path / "deep" / "a847.jsonl", {"weights": "abc", "sizes": (1, 2)})
    for entry in entries:
        log.append(entry)
    log.close()
    assert log.read() == entries
    with open(log.path, "a") as file:
        file.write('{"file_name": "torn')
    again = ImageLog(log.path, {"weights": "abc", "sizes": (1, 2)})
    assert again.read() == entries
    again.append(entries[0])
    assert again.read() == [*entries, entries[0]]
    again.close()


def test_another_header_means_another_run(tmp_path):
    log = ImageLog(tmp_path / "log.jsonl", {"weights": "abc"})
    log.append(random_counts("a.jpg", 0)[2])
    log.close()
    other = ImageLog(log.path, {"weights": "def"})
    assert other.read() is None
    other.append(random_counts("b.jpg", 1)[2])
    other.close()
    assert [entry.file_name for entry in other.read()] == ["b.jpg"]
    assert ImageLog(tmp_path / "absent.jsonl", {}).read() is None
