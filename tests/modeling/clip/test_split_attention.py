import pytest
import torch
from torch import nn

from physseg.modeling.clip.split_attention import SplitAttention


class OwnAttention(nn.Module):
    """The layout of open_clip's main branch: packed parameters under PyTorch's names, in a module of its own."""

    def __init__(self, packed: nn.MultiheadAttention, **more: nn.Parameter):
        super().__init__()
        self.num_heads = packed.num_heads
        self.in_proj_weight, self.in_proj_bias = packed.in_proj_weight, packed.in_proj_bias
        self.out_proj = nn.Linear(packed.embed_dim, packed.embed_dim)
        self.out_proj.load_state_dict(packed.out_proj.state_dict())
        for name, parameter in more.items():
            setattr(self, name, parameter)


def test_an_attention_of_open_clips_own_is_taken_over():
    packed = nn.MultiheadAttention(16, 4, batch_first=True)
    nn.init.normal_(packed.in_proj_bias)
    x = torch.randn(2, 5, 16)
    expected = packed(x, x, x, need_weights=False)[0]
    torch.testing.assert_close(SplitAttention.from_packed(OwnAttention(packed))(x), expected)


def test_an_attention_with_more_than_that_is_refused():
    own = OwnAttention(nn.MultiheadAttention(16, 4), logit_scale=nn.Parameter(torch.ones(4)))
    with pytest.raises(ValueError, match=r"OwnAttention of open_clip has the parameters .*logit_scale.*<4"):
        SplitAttention.from_packed(own)
