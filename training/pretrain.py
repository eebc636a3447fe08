"""Train a backbone to classify images (ImageNet), for a segmentation network to start from, e.g.:

python -m training.pretrain --config training/configs/imagenet.yaml --data imagenet --out runs/imagenet_a

--data has train/<class>/*.JPEG and val/<class>/*.JPEG. What comes out, `backbone.safetensors` in --out, is what `init`
of a segmentation run (training.train) takes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from lightning.pytorch import seed_everything

from dfanet_ros.checkpoint import write_tensors
from dfanet_ros.image_files import ImageFileError
from training.checkpoints import FOLDER
from training.classification import ClassificationData, ClassificationTask
from training.config import Classification, Command, ConfigError, parse_command
from training.data_sets.image_folder import ClassFolders
from training.runs import build_trainer, open_run, say
from training.weights import network_tensors

SCORE = "val/top1"


def pretrain(config: Classification, command: Command) -> Path:
    """Run one pretraining, to its end; gives its best weights, `backbone.safetensors` in the run's folder.

    Raises:
        ConfigError: the run cannot be started so.
        ImageFileError: the data are not what they should be.
        FloatingPointError: the loss is not a number.
    """
    if command.data is None:
        raise ConfigError("images are read from a folder: say where it is with --data")
    checkpoint = open_run(command.out, config, command.resume)
    seed_everything(config.seed, verbose=False)
    train, val = ClassFolders(command.data / "train"), ClassFolders(command.data / "val")
    if train.classes != val.classes:
        different = ", ".join(sorted({*train.classes} ^ {*val.classes})[:5])
        raise ImageFileError(f"train and val in {command.data} do not have the same classes: {different}")
    task = ClassificationTask(config, len(train.classes))
    trainer = build_trainer(config, command.out, SCORE, config.epochs)
    data = ClassificationData(config, train, val)
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    path = command.out / "backbone.safetensors"
    if trainer.is_global_zero:
        export_backbone(command.out / FOLDER / "best.ckpt", path, config)
    return path


def export_backbone(checkpoint: Path, path: Path, config: Classification) -> None:
    """Write the network of a checkpoint as what `training.transfer.initialise` reads."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    metadata = {"format": "dfanet_ros/backbone/1", "backbone": config.backbone, "data_set": config.data_set}
    write_tensors(path, network_tensors(state), metadata)


def main() -> None:
    config, command = parse_command(Classification, __doc__)
    try:
        path = pretrain(config, command)
    except (ValueError, FloatingPointError) as error:
        sys.exit(f"error: {error}")
    say(f"backbone: {path}")


if __name__ == "__main__":
    main()
