"""The moving average of the weights, which is what is evaluated and kept."""

from __future__ import annotations

from typing import TypeAlias

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, update_bn

from training.data import SegmentationData
from training.segmentation import SegmentationTask

Weights: TypeAlias = tuple[Tensor, ...] | list[Tensor]


class MovingAverage(WeightAveraging):
    """Lightning's, with statistics of its own for the batch normalisation.

    Averaged weights give other activations than those that the running statistics were taken of, and averaging the
    statistics alongside does not mend it; through three backbones in a row the difference costs half of the mIoU.

    The average begins short, or that of a short run would be mostly of the first weights: after n steps its decay is
    (1 + n) / (10 + n), until that is `decay`.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        # All weights in a few kernels, where Lightning's EMAWeightAveraging takes each by itself.
        super().__init__(use_buffers=False, multi_avg_fn=self._update)

    def _update(self, average: Weights, current: Weights, _: Tensor | int) -> None:
        steps = self._latest_update_step  # the third argument says it too, but on a GPU one would have to wait for it
        get_ema_multi_avg_fn(min(self.decay, (1 + steps) / (10 + steps)))(average, current, steps)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        # Where the network will be: now it is still on the CPU, to which each step would bring all weights.
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_epoch_start(trainer, pl_module)
        assert isinstance(pl_module, SegmentationTask)
        data: SegmentationData = trainer.datamodule  # type: ignore[attr-defined]
        update_bn(data.statistics_batches(pl_module.device), pl_module.network)
        pl_module.eval()
