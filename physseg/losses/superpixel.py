"""SegCLIP's superpixel loss (Luo et al., ICML 2023): patches of one superpixel should go to one centre.

B images, K centres, N patches.
"""

from torch import Tensor

from physseg.dtypes import at_least_float32


def superpixel_loss(assignment: Tensor, superpixels: Tensor) -> Tensor:
    """Half of KL(s(A') || s(A)) + KL(s(A) || s(A')), over B N K.

    A' gives every patch the mean assignment of its superpixel, s is the softmax over centres. Gradients go through
    both. Where A is one-hot the loss is small: a superpixel split in halves between two of eight centres costs 0.0055.
    In float32 at least.

    Args:
        assignment: A, (B, K, N), a weight for each centre and patch.
        superpixels: (B, N) whole numbers, equal where patches share a superpixel.

    Returns:
        Scalar.

    Raises:
        ValueError: B or N differ.

    Example:
        >>> split = torch.zeros(1, 8, 2)
        >>> split[0, 0, 0] = split[0, 1, 1] = 1
        >>> round(superpixel_loss(split, torch.zeros(1, 2)).item(), 4)
        0.0055
    """
    if assignment.dim() != 3 or superpixels.shape != assignment[:, 0].shape:
        raise ValueError(
            "the superpixel loss needs an assignment (B, K, N) and superpixels (B, N); got "
            f"{tuple(assignment.shape)} and {tuple(superpixels.shape)}"
        )
    own = at_least_float32(assignment)
    same = (superpixels[:, :, None] == superpixels[:, None]).to(own.dtype)  # S, (B, N, N)
    mean = own @ (same / same.sum(1, keepdim=True))  # symmetric S: column j holds the mean over j's superpixel
    p, q = own.log_softmax(1), mean.log_softmax(1)
    # KL(q || p) + KL(p || q) = sum (e^q - e^p) (q - p).
    return ((q.exp() - p.exp()) * (q - p)).sum() / 2 / own.numel()
