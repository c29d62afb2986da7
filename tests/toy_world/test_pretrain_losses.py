import math

import pytest
import torch
import torch.nn.functional as F

from physseg.toy_world.pretrain_losses import contrastive_loss, patch_loss


def test_contrastive_loss_by_hand():
    """Two pictures, one extra caption that fits none; cosines are 1 and 0, scale 1."""
    image = torch.eye(2)
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    named = torch.zeros(3, 144, dtype=torch.bool)
    named[0, 0] = named[1, 1] = named[2, 2] = True
    rows = (math.log(2 * math.e + 1) - 1 + math.log(math.e + 2) - 1) / 2
    columns = math.log(math.e + 1) - 1
    found = contrastive_loss(image, text, named, torch.tensor(1.0))
    assert found.item() == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_contrastive_loss_shares_the_target_among_equal_captions():
    """With both captions naming the same thing and equal features, the loss is log 2 both ways."""
    image = text = F.normalize(torch.ones(2, 4), dim=1)
    named = torch.zeros(2, 144, dtype=torch.bool)
    named[:, 5] = True
    assert contrastive_loss(image, text, named, torch.tensor(9.0)).item() == pytest.approx(math.log(2))


def test_patch_loss_by_hand():
    """One picture of two patches, three names of which two are present; the best patch of each counts."""
    names = torch.zeros(144, 144)
    names[:3] = torch.eye(144)[:3]
    dense = torch.eye(144)[None, :2]  # patch 0 is name 0, patch 1 is name 1
    present = torch.zeros(1, 144, dtype=torch.bool)
    present[0, :2] = True
    total = math.log(math.e + 143)  # the logits of every other name are 0
    explained = total - math.log(math.e + 1)
    found = total - 1
    loss = patch_loss(dense, names, present, torch.tensor(1.0))
    assert loss.item() == pytest.approx(explained + found, rel=1e-5)
