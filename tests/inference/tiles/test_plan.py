import numpy as np
import pytest

from physseg.inference.tiles.plan import plan_axis


@pytest.mark.parametrize("overlap", [0, 1, 7, 32])
@pytest.mark.parametrize("length", [1, 95, 96, 97, 150, 160, 161, 257, 1000, 20_000])
def test_every_pixel_is_shared_out_once(length, overlap):
    spans = plan_axis(length, 96, overlap)
    total = np.zeros(length)
    seen = np.zeros(length, int)
    for span in spans:
        assert 0 <= span.start <= span.first < span.last <= span.stop <= length
        assert span.stop - span.start == min(96, length)
        total[span.first : span.last] += span.weights()
        seen[span.first : span.last] += 1
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert seen.max() <= 2
    assert (seen == 2).sum() == overlap * (len(spans) - 1)


def test_windows_are_as_few_as_the_overlap_allows():
    assert [s.start for s in plan_axis(256, 96, 16)] == [0, 80, 160]
    assert [s.start for s in plan_axis(257, 96, 16)] == [0, 54, 107, 161]
    assert [(s.first, s.last) for s in plan_axis(256, 96, 16)] == [(0, 96), (80, 176), (160, 256)]


def test_a_windows_rim_has_no_say():
    first, second = plan_axis(160, 96, 16)
    assert (first.start, first.stop, second.start, second.stop) == (0, 96, 64, 160)
    assert (first.last, second.first) == (88, 72)  # in the middle of 64 to 96
    assert first.fade_in == second.fade_out == 0


def test_the_overlap_has_bounds():
    for overlap in (-1, 33):
        with pytest.raises(ValueError, match=f"a third of the tile, 32; got {overlap}"):
            plan_axis(200, 96, overlap)
