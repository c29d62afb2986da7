"""Masking, pixels of patches, and the decoder."""

import math

import torch

from physseg.modeling.without_masks.masked_autoencoder import (
    MaskedDecoder,
    patch_pixels,
    random_masking,
    sine_positions,
    take_visible,
)


def test_the_smallest_noise_stays_the_smallest_first():
    masking = random_masking(torch.tensor([[0.4, 0.1, 0.9, 0.2]]), 2)
    assert masking.visible.tolist() == [[1, 3]]
    assert masking.masked.tolist() == [[True, False, True, False]]
    patches = torch.arange(4.0).view(1, 4, 1)
    assert take_visible(patches, masking).flatten().tolist() == [1, 3]
    # Visible ones first, then the masked by their noise.
    assert masking.order.tolist() == [[2, 0, 3, 1]]


def test_pixels_by_row_column_and_channel():
    image = torch.arange(2 * 4 * 3).reshape(1, 2, 4, 3).permute(0, 3, 1, 2)  # value = 3 * (4 y + x) + channel
    assert patch_pixels(image, 2).tolist() == [
        [[0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17], [6, 7, 8, 9, 10, 11, 18, 19, 20, 21, 22, 23]]
    ]


def test_positions_name_the_column_first():
    positions = sine_positions((2, 3), 8)
    row, column, w = 1, 2, 10000**-0.5
    expected = [math.sin(column), math.sin(column * w), math.cos(column), math.cos(column * w)]
    expected += [math.sin(row), math.sin(row * w), math.cos(row), math.cos(row * w)]
    assert torch.allclose(positions[row * 3 + column], torch.tensor(expected))


def test_the_decoder_puts_tokens_where_their_patches_are():
    """Without blocks and with bare layers a patch's prediction is its own token, or the mask token."""
    decoder = MaskedDecoder(4, 4, (2, 2), dim=4, depth=0, heads=1, summary=True).eval()
    decoder.embed, decoder.norm, decoder.predict = torch.nn.Identity(), torch.nn.Identity(), torch.nn.Identity()
    decoder.positions.zero_()
    masking = random_masking(torch.tensor([[0.3, 0.0, 0.9, 0.1]]), 2)
    tokens = torch.tensor([[[7.0] * 4, [1.0] * 4, [2.0] * 4]])  # the summary, patches 1 and 3
    found = decoder(tokens, masking)[0]
    mask = decoder.mask_token.detach()
    assert torch.equal(found, torch.stack([mask, torch.full((4,), 1.0), mask, torch.full((4,), 2.0)]))


def test_a_prediction_does_not_depend_on_the_order_of_the_visible_tokens():
    decoder = MaskedDecoder(6, 5, (2, 3), dim=8, depth=2, heads=2).eval()
    noise = torch.rand(2, 6)
    masking = random_masking(noise, 3)
    patches = torch.randn(2, 6, 6)
    found = decoder(take_visible(patches, masking), masking)
    flipped = masking._replace(
        visible=masking.visible.flip(1), order=torch.where(masking.masked, masking.order, 2 - masking.order)
    )
    assert torch.allclose(decoder(take_visible(patches, flipped), flipped), found, atol=1e-6)
    assert found.shape == (2, 6, 5)
