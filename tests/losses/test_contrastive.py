"""InfoNCE by hand, siblings, gathering over two processes, and batches in parts."""

import json
import math
import multiprocessing
import os

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from physseg.engine.launch import _free_port
from physseg.losses.contrastive import ContrastiveLoss, embed_in_parts, gather_rows, info_nce, keys_of, siblings


def test_value_by_hand():
    logits = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    rows = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))
    columns = math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))
    assert info_nce(logits).item() == pytest.approx((rows + columns) / 4)


def test_a_sibling_counts_neither_as_positive_nor_as_negative():
    logits = torch.randn(3, 3, dtype=torch.float64)
    excluded = siblings(torch.tensor([5, 5, 6]))
    assert excluded.tolist() == [[False, True, False], [True, False, False], [False, False, False]]
    # Written out: 0 sees itself and 2, 1 itself and 1, 2 all three.
    seen = [[0, 2], [1, 2], [0, 1, 2]]
    expected = 0
    for i, others in enumerate(seen):
        expected -= logits[i, i] - logits[i, others].logsumexp(0)
        expected -= logits[i, i] - logits[others, i].logsumexp(0)
    assert torch.allclose(info_nce(logits, excluded), expected / 6)


def test_equal_captions_are_siblings_too():
    pairs = siblings(keys_of([1, 2, 3]), keys_of(["a cat", "a dog", "a cat"]))
    assert pairs.nonzero().tolist() == [[0, 2], [2, 0]]


def test_keys_tell_numbers_words_and_order_apart():
    assert len(keys_of([1, "1", "a", "b"]).unique()) == 4
    assert torch.equal(keys_of(["a", 7]), keys_of(["a", 7]))


def test_gradient():
    logits = torch.randn(4, 4, dtype=torch.float64, requires_grad=True)
    excluded = siblings(torch.tensor([0, 1, 1, 2]))
    assert torch.autograd.gradcheck(lambda x: info_nce(x, excluded), logits)


def test_without_a_negative_the_loss_is_zero_and_said(caplog):
    loss = ContrastiveLoss()
    similarity = torch.randn(3, 3, requires_grad=True)
    value = loss(similarity, [1, 2, 3], ["the same"] * 3)
    value.backward()
    assert value.item() == 0
    assert similarity.grad.abs().max() == 0
    assert "nothing is a negative" in caplog.text
    assert "the same" in caplog.text


def test_a_batch_of_one_is_refused():
    with pytest.raises(ValueError, match=r"two pairs at least.*SOLVER\.IMS_PER_BATCH"):
        ContrastiveLoss()(torch.ones(1, 1), [1], ["a"])


def test_temperature_is_learnt_and_held():
    loss = ContrastiveLoss(0.5)
    similarity = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert loss(similarity, [1, 2], ["a", "b"]).item() == pytest.approx(math.log(1 + math.exp(-2)))
    with torch.no_grad():
        loss.log_scale.fill_(20.0)
    loss(similarity, [1, 2], ["a", "b"]).backward()
    assert loss.log_scale.item() == pytest.approx(math.log(100))
    assert loss.log_scale.grad is not None


class Towers(nn.Module):
    """Two linear towers and a dropout, to be trained on dicts of vectors."""

    def __init__(self, parts=1):
        super().__init__()
        torch.manual_seed(3)
        self.image, self.text = nn.Linear(6, 4), nn.Linear(5, 4)
        self.contrast, self.parts, self.calls = ContrastiveLoss(), parts, 0

    def embed(self, batch):
        self.calls += 1
        image = self.image(torch.stack([x["image"] for x in batch]))
        text = self.text(torch.stack([x["text"] for x in batch]))
        return F.normalize(image, dim=1), F.normalize(text, dim=1)

    def forward(self, batch):
        image, text = embed_in_parts(self.embed, batch, self.parts)
        similarity = image @ gather_rows(text).T
        return self.contrast(similarity, [x["image_id"] for x in batch], [x["caption"] for x in batch])


def pairs(n=8):
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.randn(6, generator=generator),
            "text": torch.randn(5, generator=generator),
            "image_id": index // 2 if index < 4 else index,
            "caption": f"number {index}",
        }
        for index in range(n)
    ]


def gradients(model):
    return {name: p.grad.tolist() for name, p in model.named_parameters()}


def alone(parts=1):
    model = Towers(parts)
    loss = model(pairs())
    loss.backward()
    return loss.item(), gradients(model), model.calls


def run_rank(rank, port, parts, path):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = DistributedDataParallel(Towers(parts))
    loss = model(pairs()[4 * rank : 4 * rank + 4])
    loss.backward()
    if rank == 1:
        path.write_text(json.dumps([loss.item(), gradients(model.module)]))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_give_the_loss_and_gradients_of_one(parts, tmp_path):
    context = multiprocessing.get_context("fork")
    arguments = (_free_port(), parts, tmp_path / "found.json")
    processes = [context.Process(target=run_rank, args=(rank, *arguments)) for rank in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    loss, found = json.loads((tmp_path / "found.json").read_text())
    expected_loss, expected, _ = alone()
    assert loss == pytest.approx(expected_loss, abs=1e-6)
    for name, value in expected.items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(value), atol=1e-6, rtol=1e-5)


def test_parts_change_nothing_and_are_computed_twice():
    loss, expected, calls = alone()
    cached_loss, found, cached_calls = alone(parts=4)
    assert (calls, cached_calls) == (1, 8)
    assert cached_loss == pytest.approx(loss, abs=1e-7)
    for name, value in expected.items():
        torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(value), atol=1e-7, rtol=1e-5)
    # Plain accumulation is another loss: each part sees its own negatives alone.
    model = Towers()
    plain = sum(model(pairs()[i : i + 2]) for i in range(0, 8, 2)).item() / 4
    assert abs(plain - loss) > 0.1


def test_random_numbers_are_the_same_in_both_passes():
    drawn = []

    def embed(batch):
        noise = torch.rand(len(batch), 2)
        drawn.append(noise)
        return (weight * noise,)

    weight = torch.ones(2, requires_grad=True)
    (rows,) = embed_in_parts(embed, [{}] * 4, 2)
    (rows**2).sum().backward()
    assert torch.equal(torch.cat(drawn[:2]), rows)
    # The backward pass takes the parts in any order.
    assert {tuple(x.flatten().tolist()) for x in drawn[:2]} == {tuple(x.flatten().tolist()) for x in drawn[2:]}


def test_parts_must_divide_the_batch():
    with pytest.raises(ValueError, match=r"batch of 5.*SOLVER\.ACCUMULATION_STEPS = 2"):
        embed_in_parts(lambda batch: (torch.zeros(len(batch)),), [{}] * 5, 2)
