"""The loss is the cross-entropy of PyTorch, and its options do what they say."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from training.losses import PixelLoss, finite


def example(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 4, 6, 8, generator=generator)
    target = torch.randint(0, 4, (2, 6, 8), generator=generator)
    target[0, :2] = 255
    return logits, target


@pytest.mark.parametrize("weights", [None, torch.tensor([1.0, 2.0, 0.5, 7.0])], ids=["alike", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equals_cross_entropy(weights: torch.Tensor | None, smoothing: float) -> None:
    logits, target = example()
    expected = F.cross_entropy(logits, target, weights, ignore_index=255, label_smoothing=smoothing)
    assert PixelLoss(weights, smoothing)(logits, target) == pytest.approx(expected.item(), rel=1e-5)


def test_ohem_counts_the_pixels_that_are_not_yet_right() -> None:
    logits, target = example()
    right = F.softmax(logits, 1).gather(1, target.clamp(max=3)[:, None])[:, 0]
    hard = (right <= 0.5) & (target != 255)
    assert 0 < hard.sum() < (target != 255).sum()
    expected = F.cross_entropy(logits, target, ignore_index=255, reduction="none")[hard].mean()
    assert PixelLoss(ohem=0.5)(logits, target) == pytest.approx(expected.item(), rel=1e-5)


def test_ohem_keeps_the_hardest_where_all_are_right() -> None:
    target = torch.arange(32).reshape(1, 4, 8) % 4
    logits = 20 * F.one_hot(target, 4).permute(0, 3, 1, 2).float()
    logits[0, :, 0, 0] = torch.tensor([3.0, 0.0, 0.0, 0.0])  # right, but less so
    logits[0, :, 0, 1] = torch.tensor([0.0, 4.0, 0.0, 0.0])
    plain = F.cross_entropy(logits, target, reduction="none")
    assert PixelLoss(ohem=0.5)(logits, target) == pytest.approx(plain.flatten().topk(2).values.mean().item())


@pytest.mark.parametrize("ohem", [0.0, 0.7])
def test_no_label_is_no_loss(ohem: float) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = PixelLoss(ohem=ohem)(logits, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0 and logits.grad is not None and not logits.grad.any()


def test_what_is_no_number_is_said_with_its_place() -> None:
    assert finite(torch.tensor(1.5), 0, 0) == 1.5
    with pytest.raises(FloatingPointError, match="the loss is nan at epoch 3, iteration 8: lower learning_rate"):
        finite(torch.tensor(math.nan), 2, 7)
