"""Captions as text features: whole sentences, commas included."""

import open_clip
import pytest
import torch
import torch.nn.functional as F

from physseg.modeling.clip.encoder import ClipEncoder
from physseg.toy_world.clip import load_toy_clip_state_dict, register_toy_clip

CAPTIONS = ["a red disc, a blue star and a green brick wall", "a red disc", "a " + "very " * 100 + "long caption"]


@pytest.fixture(scope="module")
def clip():
    return ClipEncoder("physseg-toy", "toy", 96, finetune="full")


def test_sentences_are_encoded_as_open_clip_does(clip):
    plain = open_clip.create_model(register_toy_clip(), load_weights=False).eval()
    plain.load_state_dict(load_toy_clip_state_dict())
    with torch.no_grad():
        expected = F.normalize(plain.encode_text(clip.tokenizer(CAPTIONS)), dim=-1)
        found = clip.encode_sentences(CAPTIONS)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_gradients_reach_the_text_encoder_where_it_trains(clip):
    assert clip.encode_sentences(CAPTIONS).requires_grad
    frozen = ClipEncoder("physseg-toy", "toy", 96, finetune="frozen")
    assert not frozen.encode_sentences(CAPTIONS).requires_grad
