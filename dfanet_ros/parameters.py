"""The node's parameters: one table that node, launch files, YAML files and README agree with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Repeated here, and held equal by a test, so that launch files read the table without loading PyTorch.
NETWORKS = ("dfanet",)
BACKBONES = ("xception_a", "xception_b")
Value = str | int | float | list[str]

RELIABILITIES = ("best_effort", "reliable")


@dataclass(frozen=True)
class Parameter:
    """One parameter; its type is that of the default.

    Attributes:
        choices: the allowed texts; empty where any text goes.
        minimum: smallest allowed number; None where the value is no number.
        maximum: largest allowed number.
        live: whether it may change while the node runs.
    """

    name: str
    default: Value
    description: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    live: bool = False

    @property
    def allowed(self) -> str:
        """What is allowed, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.minimum is not None:
            kind = "a number" if isinstance(self.default, float) else "a whole number"
            return f"{kind} from {self.minimum:g} to {self.maximum:g}"
        return "a list of texts, at least one" if isinstance(self.default, list) else "a text"

    def checked(self, value: Any) -> Any:
        """The value in the parameter's type (a whole number may stand for a real one).

        Raises:
            ValueError: it is not allowed; the sentence says what was given and what is.
        """
        if isinstance(self.default, float) and type(value) is int:
            value = float(value)
        if isinstance(value, (list, tuple)):
            value = list(value)
        fits = type(value) is type(self.default)
        if fits and self.choices:
            fits = value in self.choices
        if fits and self.minimum is not None and self.maximum is not None:
            fits = self.minimum <= value <= self.maximum
        if fits and isinstance(value, list):
            fits = len(value) > 0 and all(isinstance(entry, str) and entry for entry in value)
        if not fits:
            given = "empty" if value is None else repr(value)
            raise ValueError(f"parameter {self.name} is {given}, but has to be {self.allowed}")
        return value


PARAMETERS: tuple[Parameter, ...] = (
    Parameter("image_topics", ["image_raw"], "Image topics to segment, one for each camera."),
    Parameter("network", "dfanet", "Network.", choices=NETWORKS),
    Parameter("backbone", "xception_a", "Backbone of the network.", choices=BACKBONES),
    Parameter(
        "weights",
        "",
        "A .safetensors file or the name of shipped weights (camvid, street_scenes); "
        "empty: the shipped ones of this network and backbone.",
    ),
    Parameter(
        "input_height",
        0,
        "Height in pixels that frames are resized to for the network; 0: the height that the weights were trained at.",
        minimum=0,
        maximum=8192,
    ),
    Parameter(
        "input_width",
        0,
        "Width in pixels that frames are resized to for the network; 0: the width that the weights were trained at.",
        minimum=0,
        maximum=8192,
    ),
    Parameter(
        "device", "auto", "Where the network runs: cpu, cuda, cuda:1, ...; auto: CUDA where there is one, else the CPU."
    ),
    Parameter(
        "precision",
        "auto",
        "Arithmetic of the network; auto: fp16 on CUDA, fp32 on the CPU (which has no fp16).",
        choices=("auto", "fp32", "fp16", "bf16"),
    ),
    Parameter(
        "overlay_opacity",
        0.5,
        "How much of the overlay is class colour: 0 shows the frame only, 1 the colours only.",
        minimum=0.0,
        maximum=1.0,
        live=True,
    ),
    Parameter(
        "image_reliability",
        "best_effort",
        "Reliability of the image subscriptions; best_effort receives from every kind of camera driver.",
        choices=RELIABILITIES,
    ),
    Parameter(
        "output_reliability",
        "reliable",
        "Reliability of the publishers; reliable serves every kind of subscriber.",
        choices=RELIABILITIES,
    ),
)
