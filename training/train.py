"""Train a network on labelled images, e.g.:

python -m training.train --config training/configs/camvid.yaml --data camvid --out runs/camvid
"""

from __future__ import annotations

import sys
from pathlib import Path

from lightning.pytorch import seed_everything

from dfanet_ros.segmenter import find_weights
from training.averaging import MovingAverage
from training.checkpoints import FOLDER
from training.config import Command, Config, parse_command
from training.data import SegmentationData
from training.runs import build_trainer, open_run, say
from training.segmentation import SegmentationTask
from training.transfer import initialise
from training.weights import export_weights

SCORE = "val/mIoU"


def train(config: Config, command: Command) -> Path:
    """Run one training, to its end; gives its best weights, `best.safetensors` in the run's folder.

    The folder also gets `config.yaml`, `checkpoints/` (best and last), `logs/` and `last.safetensors`.

    Raises:
        ConfigError: the run cannot be started so.
        ImageFileError: the data are not what they should be.
        FloatingPointError: the loss is not a number.
    """
    out = command.out
    checkpoint = open_run(out, config, command.resume)
    seed_everything(config.seed, verbose=False)
    data = SegmentationData(config, command.data)
    for doubt in data.doubts():
        say(f"warning: {doubt}")
    task = SegmentationTask(config, data.labels, config.epochs * data.batches, data.class_weights())
    if config.init and checkpoint is None:
        say("\n".join(initialise(task.network, find_weights(config.init))))
    average = [MovingAverage(config.ema_decay)] if config.ema_decay else []
    trainer = build_trainer(
        config, out, SCORE, config.epochs, config.evaluate_every, config.gradient_clip, callbacks=average
    )
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    best = out / "best.safetensors"
    if trainer.is_global_zero:
        for name in ("best", "last"):
            export_weights(out / FOLDER / f"{name}.ckpt", out / f"{name}.safetensors")
    return best


def main() -> None:
    config, command = parse_command(Config, __doc__)
    try:
        best = train(config, command)
    except (ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    say(f"best weights: {best}")


if __name__ == "__main__":
    main()
