"""What a frame of 720p costs before the network, in it with every engine, and after it; on the CPU."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from statistics import median

import torch

from dfanet_ros import engines
from dfanet_ros.benchmark.engines import Case, engines_here
from dfanet_ros.benchmark.frames import frames
from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.frame import Frame
from dfanet_ros.host import HostPipeline
from dfanet_ros.pixels import resize_labels
from dfanet_ros.segmenter import Segmenter, find_weights
from dfanet_ros.upsampling import upsampled_argmax

CPU = torch.device("cpu")


@torch.inference_mode()
def measure(arguments: argparse.Namespace) -> str:
    """Each step in every round; gives a Markdown table of medians.

    Raises:
        ValueError: an engine cannot run here.
    """
    network, info = load_checkpoint(find_weights(arguments.weights[0]))
    size = height, width = arguments.sizes[0]
    pipeline = HostPipeline(info, size, network.logits_stride)
    frame = Frame(frames(1, arguments.frames)[0])
    networks = {}
    for engine, precision in engines_here(CPU, arguments.engines):
        segmenter = Segmenter(network, info, size, "cpu", precision, engine, engines.CORES)
        threads = engines.CORES if engine == "torch" else 1
        images = HostPipeline(info, size, network.logits_stride, DTYPES[precision]).prepare([frame])
        networks[f"network, {engine} {precision}"] = Case([], partial(segmenter.logits, images), threads)
        if len(networks) == 1:
            logits = segmenter.logits(images)[0].float()
    enlarged = upsampled_argmax(logits, network.logits_stride)[:height, :width]
    cases = {
        "resize, channels, normalisation": Case([], partial(pipeline.prepare, [frame]), 1),
        **networks,
        f"logits to a label map at {height} x {width}": Case(
            [], partial(upsampled_argmax, logits, network.logits_stride), 1
        ),
        f"to {frame.size[1]} x {frame.size[0]}": Case([], partial(resize_labels, enlarged, frame.size), 1),
    }
    for number in range(1, arguments.rounds + 1):
        print(f"round {number} of {arguments.rounds}", file=sys.stderr)
        for case in cases.values():
            case.measure()
    lines = ["| step | ms |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {name} | {median(case.times):.1f} |" for name, case in cases.items())])
