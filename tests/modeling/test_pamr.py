"""PAMR by loops over pixels and neighbours."""

import torch

from physseg.modeling.pamr import affinity, pamr


def by_loops(image, maps, steps, dilations):
    _, height, width = image.shape

    def at(x, row, column):
        return x[:, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]

    around = [(y, x) for d in dilations for y in (-d, 0, d) for x in (-d, 0, d) if y or x]
    for _ in range(steps):
        result = torch.zeros_like(maps)
        for row in range(height):
            for column in range(width):
                centre = image[:, row, column]
                near = torch.stack([at(image, row + y, column + x) for y, x in around])
                spread = torch.cat([near, centre.expand(len(dilations), -1)]).std(0)
                weights = (-((near - centre).abs() / (1e-8 + 0.1 * spread)).mean(1)).softmax(0)
                values = torch.stack([at(maps, row + y, column + x) for y, x in around])
                result[:, row, column] = (weights[:, None] * values).sum(0)
        maps = result
    return maps


def test_equals_loops():
    image = torch.rand(3, 5, 6, dtype=torch.float64)
    maps = torch.rand(2, 5, 6, dtype=torch.float64)
    weights = affinity(image, (1, 2))
    torch.testing.assert_close(weights.sum(0), torch.ones(5, 6, dtype=torch.float64))
    torch.testing.assert_close(pamr(maps, weights, 2, (1, 2)), by_loops(image, maps, 2, (1, 2)))


def test_maps_of_another_size_are_resized_with_aligned_corners():
    weights = affinity(torch.rand(3, 5, 5), (1,))
    maps = torch.tensor([[[0.0, 4.0], [0.0, 4.0]]])
    assert pamr(maps, weights, 0, (1,))[0, 0].tolist() == [0, 1, 2, 3, 4]


def test_an_even_picture_blurs():
    weights = affinity(torch.ones(3, 4, 4), (1,))
    torch.testing.assert_close(weights, torch.full((8, 4, 4), 1 / 8))
