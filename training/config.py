"""One flat YAML file describes one training run; each key can also be given on the command line."""

from __future__ import annotations

import math
from argparse import RawDescriptionHelpFormatter
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from jsonargparse import ArgumentParser, DefaultHelpFormatter

from dfanet_ros.network import AUTO, resolve_backbone
from dfanet_ros.network.xception import CHANNELS
from training.data_sets import DATA_SETS


class ConfigError(ValueError):
    """A run that cannot be started; the text says what is given and what is allowed."""


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a run runs on; all processes together see the same batches, whatever their number.

    Args:
        accelerator: cpu, gpu, or auto: a GPU where there is one.
        devices: Processes on each machine, one for each GPU.
        num_nodes: Machines (started on each by torchrun or a scheduler that Lightning knows).
        precision: 32-true, bf16-mixed or 16-mixed; auto: bf16-mixed on a GPU that has bfloat16, else 32-true.
        cuda_graphs: Launch a batch's kernels at once, on one GPU (not with ohem); to be turned off to look for errors.
        workers: Processes for each device that prepare batches; 0: none besides the training's own.
        cache_gib: Each process keeps decoded frames in memory, if those of train together take no more than this, and
            those of val no more than what is left of it.
        tensorboard: Write logs for TensorBoard, too, beside the CSV files (needs pip install tensorboard).
    """

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    cuda_graphs: bool = True
    workers: int = 1
    cache_gib: float = 4.0
    tensorboard: bool = False

    @property
    def processes(self) -> int:
        return self.devices * self.num_nodes

    def check_hardware(self) -> None:
        """Raises ConfigError if there cannot be such hardware."""
        for name in ("devices", "num_nodes"):
            check_positive(name, getattr(self, name))
        for name in ("workers", "cache_gib"):
            check_range(name, getattr(self, name), 0)

    def check_batch(self, batch_size: int) -> int:
        """The share of each process in a batch. Raises ConfigError if it cannot be divided."""
        share, rest = divmod(batch_size, self.processes)
        if rest or not share:
            raise ConfigError(
                f"batch_size is {batch_size}, but has to be a multiple of the number of processes "
                f"(devices {self.devices} x num_nodes {self.num_nodes} = {self.processes}): it is that of all together"
            )
        return share


@dataclass(frozen=True, kw_only=True)
class Config(Hardware):
    """A segmentation run; sizes are [height, width] in pixels.

    Args:
        data_set: The layout of the data (see the README), e.g. camvid, cityscapes, or folder for your own.
        epochs: Passes over the data.
        batch_size: Crops in an iteration, of all processes together.
        crop: Size of the crops that the network is trained on.
        input_size: Size that whole frames are resized to for evaluation and in the node; stored with the weights.
        optimizer: sgd (momentum 0.9) or adamw.
        learning_rate: Its highest value, after the warm-up; falls to 0 by the polynomial of power 0.9.
        weight_decay: Of the convolutions; normalisation and biases have none.
        network: A network of the registry.
        backbone: One that the network has; auto: its default one.
        options: Others of the network, as {input_scale: 0.25} of dfanet or {output_stride: 8} of deeplabv3.
        init: A .safetensors file to start from, or the name of shipped weights: a pretrained backbone, or a trained
            network (its classifier is left out if the classes differ in number); for deeplabv3 also torchvision's .pth
            files; empty: from scratch.
        train_parts: Parts of the data set that are trained on.
        val_part: Part that is evaluated on.
        evaluate_every: Epochs between two evaluations.
        warmup_iterations: Iterations over which the learning rate rises from 0.
        gradient_clip: Largest norm of the gradient; 0: no limit.
        ema_decay: Of the moving average of the weights, which is what is evaluated and kept (short at first); 0: none.
        scale: Smallest and largest factor that frames are scaled by, of their own size; has to contain
            input_size / frame size, at which they are evaluated.
        colour: Largest relative change of brightness, contrast, saturation, white balance and gamma.
        class_weights: How much classes count: none (all alike) or log, 1 / ln(class_weight_offset + share of the
            pixels) as in ENet.
        class_weight_offset: The nearer to 1, the more rare classes count.
        label_smoothing: Probability that is spread over the wrong classes.
        ohem: Leave out pixels whose right class has a probability above this (online hard example mining; the hardest
            1/16 always stay); 0: keep all.
        auxiliary: Weight of the loss of auxiliary classifiers on each backbone's output; 0: there are none.
        seed: Of the initial weights, of the order and of the augmentation.
    """

    data_set: str
    epochs: int
    batch_size: int
    crop: tuple[int, int]
    input_size: tuple[int, int]
    optimizer: Literal["sgd", "adamw"]
    learning_rate: float
    weight_decay: float
    network: str = "dfanet"
    backbone: str = AUTO
    options: dict[str, Any] = field(default_factory=dict)
    init: str = ""
    train_parts: tuple[str, ...] = ("train",)
    val_part: str = "val"
    evaluate_every: int = 5
    warmup_iterations: int = 0
    gradient_clip: float = 0.0
    ema_decay: float = 0.0
    scale: tuple[float, float] = (0.75, 1.75)
    colour: float = 0.0
    class_weights: Literal["none", "log"] = "log"
    class_weight_offset: float = 1.10
    label_smoothing: float = 0.0
    ohem: float = 0.0
    auxiliary: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("data_set", self.data_set, DATA_SETS)
        try:
            backbone = resolve_backbone(self.network, self.backbone)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        object.__setattr__(self, "backbone", backbone)  # what a run's folder says is what it was
        self.check_hardware()
        for name in ("epochs", "batch_size", "evaluate_every", "learning_rate"):
            check_positive(name, getattr(self, name))
        for name in ("weight_decay", "warmup_iterations", "gradient_clip", "auxiliary", "seed"):
            check_range(name, getattr(self, name), 0)
        for name in ("ema_decay", "label_smoothing", "ohem", "colour"):
            check_range(name, getattr(self, name), 0, 1)
        if self.class_weight_offset <= 1:
            raise ConfigError(f"class_weight_offset is {self.class_weight_offset}, but has to be larger than 1")
        for name in ("crop", "input_size", "scale"):
            for value in getattr(self, name):
                check_positive(name, value)
        if self.scale[0] > self.scale[1]:
            raise ConfigError(f"scale is {list(self.scale)}, but has to be [smallest, largest]")
        if not self.train_parts:
            raise ConfigError("train_parts is empty, but has to name a part of the data set at least, like [train]")
        if self.epochs % self.evaluate_every:
            raise ConfigError(
                f"epochs is {self.epochs}, but has to be a multiple of evaluate_every ({self.evaluate_every}): the "
                "last epoch is to be evaluated"
            )
        self.check_batch(self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Classification(Hardware):
    """A backbone's pretraining, by SGD with Nesterov momentum 0.9; the defaults are the paper's (section 4.1).

    Args:
        backbone: The backbone to train.
        data_set: Name of the data, for the weights' metadata.
        epochs: Passes over the data.
        batch_size: Images in an iteration, of all processes together.
        size: Height and width of the images in pixels.
        learning_rate: Its first value.
        learning_rate_drops: Epochs after which it falls to a tenth.
        weight_decay: Of all parameters.
        label_smoothing: Probability that is spread over the wrong classes.
        seed: Of the initial weights, of the order and of the augmentation.
    """

    backbone: str = "xception_a"
    data_set: str = "imagenet"
    epochs: int = 60
    batch_size: int = 256
    size: int = 224
    learning_rate: float = 0.3
    learning_rate_drops: tuple[int, ...] = (30,)
    weight_decay: float = 4e-5
    label_smoothing: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("backbone", self.backbone, CHANNELS)
        self.check_hardware()
        for name in ("epochs", "batch_size", "size", "learning_rate"):
            check_positive(name, getattr(self, name))
        for name in ("weight_decay", "seed"):
            check_range(name, getattr(self, name), 0)
        check_range("label_smoothing", self.label_smoothing, 0, 1)
        self.check_batch(self.batch_size)


def check_choice(name: str, value: str, allowed: Any) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is '{value}', but has to be one of {', '.join(allowed)}")


def check_positive(name: str, value: float) -> None:
    if value <= 0:
        raise ConfigError(f"{name} is {value}, but has to be larger than 0")


def check_range(name: str, value: float, least: float, limit: float = math.inf) -> None:
    if not least <= value < limit:
        end = f" and less than {limit}" if limit < math.inf else ""
        raise ConfigError(f"{name} is {value}, but has to be at least {least}{end}")


class HelpFormatter(DefaultHelpFormatter, RawDescriptionHelpFormatter):
    """Keeps the lines of a command's description as they are."""


Run = TypeVar("Run", bound=Hardware)


@dataclass(frozen=True)
class Command:
    """What a training command was asked to do, besides the config."""

    data: Path | None
    out: Path
    resume: bool


def parse_command(kind: type[Run], description: str, arguments: list[str] | None = None) -> tuple[Run, Command]:
    """A run and where it reads and writes, from the command line; ends the program with a sentence if it is wrong."""
    parser = ArgumentParser(description=description, formatter_class=HelpFormatter)
    parser.add_argument("--config", action="config", help="the run's YAML file, see training/configs")
    parser.add_argument("--data", type=str | None, help="folder of the data set, as its download has it")
    parser.add_argument("--out", type=str, required=True, help="folder for checkpoints, logs and weights")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in --out, if there is one"
    )
    parser.add_class_arguments(kind)
    parsed = parser.parse_args(arguments)
    try:
        config = kind(**{field.name: parsed[field.name] for field in fields(kind)})
    except ConfigError as error:
        parser.error(str(error))
    data = Path(parsed.data).expanduser() if parsed.data else None  # make quotes it, so that no shell has expanded ~
    return config, Command(data, Path(parsed.out).expanduser(), parsed.resume)


def load_config(kind: type[Run], path: Path) -> Run:
    """The run of a YAML file. Raises ConfigError if it is wrong."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind)
    try:
        parsed = parser.parse_path(path)
    except Exception as error:
        raise ConfigError(f"{path}: {error}") from error
    return kind(**{field.name: parsed[field.name] for field in fields(kind)})


def as_yaml(config: Hardware) -> str:
    """The run as the text of a YAML file."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(config).items()}
    return yaml.safe_dump(plain, sort_keys=False)
