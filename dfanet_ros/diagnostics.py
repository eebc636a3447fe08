"""What the node says on /diagnostics: how each camera does, and what the network runs on.

Not with diagnostic_updater, whose Python side has a clock of its own that is wrong under use_sim_time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from dfanet_ros.recorder import Measured

OTHER_CLOCK = 60.0  # seconds of latency that no camera has
MEBIBYTE = 2**20

# Whatever else becomes of a frame is as somebody wanted it.
_FAULTS = {"refused": "could not be read", "failed": "could not be segmented"}
_BY_ANOTHER_CLOCK = ": the images seem to be stamped by another clock (use_sim_time?)"


@dataclass(frozen=True)
class Thresholds:
    """Where a camera's level changes.

    Attributes:
        latency_warn: seconds; a p99 over it warns.
        latency_error: seconds; a p99 over it is an error.
        rate_warn: results a second; fewer warn; 0: never.
        silence_warn: seconds without a frame that warn.
        silence_error: seconds without a frame that are an error.
    """

    latency_warn: float
    latency_error: float
    rate_warn: float
    silence_warn: float
    silence_error: float


def camera_status(
    node: str,
    topic: str,
    hardware_id: str,
    totals: Mapping[str, int],
    measured: Measured,
    thresholds: Thresholds,
    wanted: bool,
    subscribed: bool = True,
) -> DiagnosticStatus:
    """How a camera does.

    Args:
        node: the node's name.
        topic: of the camera's images.
        hardware_id: of the camera or the computer, as the user names it.
        totals: what became of the camera's frames since the start; `refused` and `failed` ones warn.
        measured: the same camera over the last seconds.
        thresholds: where the level changes.
        wanted: whether somebody subscribes to a result.
        subscribed: whether the node receives images at all, which it does while it is active.
    """
    findings = _findings(measured, thresholds, wanted) if subscribed else []
    level = max((level for level, _ in findings), default=DiagnosticStatus.OK)
    if findings:
        message = "; ".join(text for its_level, text in sorted(findings, key=lambda f: f[0], reverse=True))
    elif not subscribed:
        message = "not subscribed, for the node is not active"
    elif not wanted:
        message = "nobody subscribes to a result"
    elif math.isnan(measured.rate_out):
        message = "waiting for the first results"
    else:
        message = f"segmenting {measured.rate_out:.1f} Hz"
    values = {
        "topic": topic,
        "rate in (Hz)": _number(measured.rate_in),
        "rate out (Hz)": _number(measured.rate_out),
        "latency p50 (ms)": _number(1000 * measured.latency_p50),
        "latency p99 (ms)": _number(1000 * measured.latency_p99),
        "time since the last image (s)": _number(measured.silence),
    }
    for name, total in totals.items():
        values[name] = str(total)
        values[f"{name} in the last {measured.window:g} s"] = str(measured.counts.get(name, 0))
    return _status(level, f"{node}: {topic}", message, hardware_id, values)


@dataclass(frozen=True)
class NetworkFacts:
    """What a loaded network runs with.

    Attributes:
        weights: the file in use, or the name of shipped ones.
        network: its name and backbone.
        classes: how many there are.
        input_size: (height, width) that frames are resized to.
        device: `cpu`, `cuda`, `cuda:1`, ...
        precision: `fp32`, `fp16` or `bf16`.
        engine: what runs it, and why that.
        gpu_memory: (free, total) bytes, as torch.cuda.mem_get_info gives them; None on the CPU.
    """

    weights: str
    network: str
    classes: int
    input_size: tuple[int, int]
    device: str
    precision: str
    engine: str
    gpu_memory: tuple[int, int] | None = None


def network_status(node: str, hardware_id: str, state: str, facts: NetworkFacts | None) -> DiagnosticStatus:
    """What the network runs with; a warning while none is loaded.

    Args:
        node: the node's name.
        hardware_id: as the user names it.
        state: of the node's lifecycle: `unconfigured`, `inactive`, `active` or `finalized`.
        facts: of the network; None while none is loaded.
    """
    values = {"lifecycle state": state}
    if facts is None:
        message = f"no network is loaded: the node is {state}"
        return _status(DiagnosticStatus.WARN, f"{node}: network", message, hardware_id, values)
    height, width = facts.input_size
    values |= {
        "weights": facts.weights,
        "network": facts.network,
        "classes": str(facts.classes),
        "input height x width": f"{height} x {width}",
        "device": facts.device,
        "precision": facts.precision,
        "engine": facts.engine,
    }
    if facts.gpu_memory is not None:
        free, total = facts.gpu_memory
        values["GPU memory used (MiB)"] = str((total - free) // MEBIBYTE)
        values["GPU memory total (MiB)"] = str(total // MEBIBYTE)
    message = f"{facts.network} in {facts.precision} on {facts.device}; the node is {state}"
    return _status(DiagnosticStatus.OK, f"{node}: network", message, hardware_id, values)


def _findings(measured: Measured, thresholds: Thresholds, wanted: bool) -> list[tuple[bytes, str]]:
    """What is wrong with a camera that is subscribed to: levels and sentences."""
    if measured.silence >= min(thresholds.silence_warn, thresholds.silence_error):
        # Alone: the rate is low for this very reason, and the latencies are of frames before.
        level = DiagnosticStatus.ERROR if measured.silence >= thresholds.silence_error else DiagnosticStatus.WARN
        return [(level, f"no image for {measured.silence:.0f} s")]
    findings = []
    for name, text in _FAULTS.items():
        if count := measured.counts.get(name, 0):
            level = DiagnosticStatus.WARN if measured.counts.get("published", 0) else DiagnosticStatus.ERROR
            findings.append((level, f"{count} of the images in {measured.window:g} s {text} (see the log)"))
    if wanted and not findings and measured.rate_out == 0 and measured.counts.get("superseded", 0):
        findings.append((DiagnosticStatus.ERROR, f"no result in {measured.window:g} s, though images come"))
    if wanted and measured.rate_out < thresholds.rate_warn:
        low = f"segmenting {measured.rate_out:.1f} Hz, under {thresholds.rate_warn:g} Hz"
        findings.append((DiagnosticStatus.WARN, low))
    latency = measured.latency_p99
    for level, limit in (
        (DiagnosticStatus.ERROR, thresholds.latency_error),
        (DiagnosticStatus.WARN, thresholds.latency_warn),
    ):
        if latency > limit:
            late = f"latency p99 is {1000 * latency:.0f} ms, over {1000 * limit:g} ms"
            if latency > OTHER_CLOCK:
                late += _BY_ANOTHER_CLOCK
            findings.append((level, late))
            break
    if latency < -OTHER_CLOCK:
        findings.append((DiagnosticStatus.WARN, f"latency p99 is {1000 * latency:.0f} ms{_BY_ANOTHER_CLOCK}"))
    return findings


def _number(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.1f}"


def _status(level: bytes, name: str, message: str, hardware_id: str, values: Mapping[str, str]) -> DiagnosticStatus:
    pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware_id, values=pairs)
