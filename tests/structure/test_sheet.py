"""Sheets: layout, what stands in for a missing source, and estimates."""

import numpy as np
import torch

from physseg.structure import StructureOptions
from physseg.structure.options import SuperPointOptions
from physseg.structure.sheet import draw_sheet, estimates, every_source
from physseg.structure.superpoint import SuperPointSource

IMAGE = np.zeros((40, 60, 3), np.uint8)


def test_missing_sources_say_why(tmp_path):
    superpoint = SuperPointSource(SuperPointOptions(weights=str(tmp_path / "none")))
    panels = every_source(IMAGE, None, StructureOptions(), 255, superpoint)
    assert list(panels) == ["canny", "sift", "superpoint", "edge_gt", "kornia_canny", "sobel"]
    assert (panels["superpoint"], panels["edge_gt"]) == ("weights not available", "needs a label map")
    assert panels["canny"].shape == (40, 60)


def test_every_source_with_labels(tmp_path):
    superpoint = SuperPointSource(SuperPointOptions(weights=str(tmp_path / "none")))
    labels = np.zeros((40, 60), int)
    labels[:, 30:] = 1
    panels = every_source(IMAGE, labels, StructureOptions(), 255, superpoint)
    assert np.flatnonzero(panels["edge_gt"][0]).tolist() == [29, 30]


def test_layout():
    sheet = draw_sheet(IMAGE, {"canny": np.ones((40, 60), np.uint8), "half": np.full((10, 15), 0.5), "edge_gt": "none"})
    assert sheet.shape == (68, 240, 3)
    assert (sheet[28:, 60:120] == 255).all()
    assert (sheet[28:, 120:180] == 127).all()
    assert (sheet[30, 180:] == 96).all()
    assert (sheet[28:, 180:] != 96).any()  # the message
    assert draw_sheet(IMAGE, {"canny": "none"} | {str(i): "x" for i in range(3)}, columns=3).shape == (136, 180, 3)


def test_estimates_are_probabilities_by_title():
    class Model(torch.nn.Module):
        def structure_logits(self, batch):
            assert batch[0]["image"].shape == (3, 40, 60)
            return torch.zeros(1, 2, 5, 5)

    panels = estimates(Model(), IMAGE, ("canny", "edge_gt"))
    assert list(panels) == ["Canny: estimate", "EdgeGT: estimate"]
    assert (panels["Canny: estimate"] == 0.5).all()
