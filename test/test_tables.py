"""`python -m training.tables`: the paper's rows, measured times, and figure 1 of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import info_of, lively_network

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from matplotlib.backends.backend_agg import FigureCanvasAgg

from dfanet_ros.checkpoint import save_checkpoint
from dfanet_ros.engines import default_threads
from dfanet_ros.network import NETWORKS
from dfanet_ros.network.base import Network
from dfanet_ros.network.complexity import PAPER_ROWS, Complexity, complexity
from training import tables
from training.figure1 import Run, figure, run_table
from training.tables import ROWS, TABLES, main, table
from training.timing import Timed, prepared, time_all

CPU = torch.device("cpu")


def test_every_row_is_in_a_table_and_every_network_in_a_row() -> None:
    named = {name for names in TABLES.values() for name in names}
    assert named == set(ROWS)
    assert {row.name for row in PAPER_ROWS} <= named
    assert {row.network for row in ROWS.values()} == set(NETWORKS)


def test_the_tables_have_the_papers_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Of arXiv 1904.02216, as the paper has them, beside what is counted here."""
    main(["--rounds", "0", "--device", "cpu"])
    printed = capsys.readouterr().out
    assert "ms, cpu" not in printed
    sections = {block.partition("\n")[0].partition(":")[0]: block for block in printed.split("\n\nTable ")}
    rows = {
        "3": ["Backbone A x2 | 2.4 | 2.43 | 4.9 | 4.69", "Backbone B | 0.83 | 0.86 | 1.4 | 1.35"],
        "4": ["Backbone A x3 + HL | 2.7 | 2.69 | 7.7 | 7.24", "DFANet B (x3 + HL + LL) | 2.1 | 2.06 | 4.8 | 4.39"],
        "5": ["DFANet A (x3 + HL + LL) | 3.4 | 3.42 | 7.8 | 7.30", "DFANet A' (512 x 1024) | 1.7 | 1.71 | 7.8 | 7.30"],
    }
    for number, lines in rows.items():
        assert all(f"| {line} |" in sections[number] for line in lines), number
    assert "| Backbone A + ASPP, input scale 0.25 |  | 0.54 |  | 9.23 |" in printed
    assert "| DeepLabV3, ResNet-50 (torchvision, 520 x 520) | 168.731 | 168.73 | 158.56 | 158.56 |" in printed
    assert "| Fast-SCNN (1024 x 2048) |  | 6.71 | 4.44 | 4.55 |" in printed


def test_a_smaller_scale_costs_a_sixteenth_and_attention_no_operations() -> None:
    """Of the ablations for which no counts are published, what must hold between them."""
    counts = {name: complexity(row.build(), row.input_size) for name, row in ROWS.items()}
    for whole, scaled in (
        ("Backbone A + ASPP", "Backbone A + ASPP, input scale 0.25"),
        ("Backbone B + ASPP", "Backbone B + ASPP, input scale 0.25"),
        ("DFANet A (x3 + HL + LL)", "DFANet A, input scale 0.25"),
    ):
        assert counts[scaled].gmacs == pytest.approx(counts[whole].gmacs / 16, rel=0.01)
        assert counts[scaled].megabytes == counts[whole].megabytes
    # Fully connected to 1000 and back, in each of three backbones, with the biases and norms of both layers.
    attention = 3 * (192 * 1000 + 1000 + 1000 * 192 + 2 * 192)
    without = counts["DFANet A without FC attention"]
    assert counts[tables.REFERENCE].megabytes - without.megabytes == pytest.approx(4 * attention / 1e6, rel=0.01)
    assert without.gmacs == pytest.approx(counts[tables.REFERENCE].gmacs, rel=0.001)


def test_ratios_are_to_dfanet_a_on_the_same_device() -> None:
    names = [tables.REFERENCE, "DFANet A' (512 x 1024)"]
    counts = {name: Complexity(1.234, 5.678) for name in names}
    times = {
        device: {name: Timed(lambda: None, times=[each]) for name, each in zip(names, pair, strict=True)}
        for device, pair in {"cpu": (20.0, 5.0), "cuda": (2.0, 1.5)}.items()
    }
    header, _, *lines = table(names, counts, times).splitlines()
    assert header.endswith("| ms, cpu | x DFANet A | ms, cuda | x DFANet A |")
    assert lines[0] == f"| {names[0]} | 3.4 | 1.23 | 7.8 | 5.68 | 20.0 | 1.00 | 2.0 | 1.00 |"
    assert lines[1] == f"| {names[1]} | 1.7 | 1.23 | 7.8 | 5.68 | 5.0 | 0.25 | 1.5 | 0.75 |"


def test_every_network_is_timed_in_every_round() -> None:
    calls: list[str] = []
    timed = [Timed(lambda: calls.append("a")), Timed(lambda: calls.append("b"))]
    time_all(timed, 3)
    assert calls == ["a", "b"] * 3
    assert all(len(each.times) == 3 and each.median > 0 for each in timed)


def test_slow_networks_take_part_in_some_rounds_and_ratios_are_of_one_round() -> None:
    calls: list[str] = []
    fast, slow = Timed(lambda: calls.append("a")), Timed(lambda: calls.append("b"), every=2)
    time_all([fast, slow], 5)
    assert "".join(calls) == "abaabaab"
    fast.times, slow.times = [1.0, 9.0, 10.0, 9.0, 2.0], [3.0, 40.0, 10.0]
    assert (slow.ratio_to(fast), fast.ratio_to(fast)) == (4.0, 1.0)


@pytest.mark.parametrize(("name", "stride"), [("dfanet", 4), ("fast_scnn", 8), ("deeplabv3", 16)])
def test_what_is_timed_is_a_whole_frame_through_the_network(name: str, stride: int) -> None:
    logits = prepared(lively_network(name, num_classes=5), (64, 128), CPU, "torch").call()
    assert isinstance(logits, torch.Tensor)
    assert logits.shape == (1, 5, 64 // stride, 128 // stride)


def test_figure_has_a_circle_for_each_run() -> None:
    runs = [Run("slow", 70.0, 8.0, {"cpu": 900.0, "cuda": 100.0}), Run("fast", 60.0, 1.0, {"cpu": 90.0, "cuda": 25.0})]
    axes = figure(runs, "cuda").axes[0]
    slow, fast = axes.collections
    assert slow.get_offsets().tolist() == [[8.0, 70.0]]
    assert fast.get_sizes()[0] == pytest.approx(4 * slow.get_sizes()[0]), "four times as many frames a second"
    assert "multiply-accumulates" in axes.get_xlabel() and "percent" in axes.get_ylabel()
    assert run_table(runs[::-1]).splitlines()[2:] == [
        "| slow | 70.0 | 8.00 | 900.0 | 100.0 |",
        "| fast | 60.0 | 1.00 | 90.0 | 25.0 |",
    ]


def test_no_text_of_the_figure_covers_another() -> None:
    """Not even where networks are nearly the same; nor does it leave the picture."""
    runs = [Run(f"network_{n} with a long name", 60 + 0.01 * n, 1 + 0.01 * n, {"cpu": 50.0 + n}) for n in range(6)]
    drawn = figure([*runs, Run("large", 61.0, 200.0, {"cpu": 9000.0})], "cpu")
    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    axes = drawn.axes[0]
    texts = [*drawn.legends[0].get_texts(), drawn.legends[0].get_title(), axes.xaxis.label, axes.yaxis.label]
    texts += [label for label in (*axes.get_xticklabels(), *axes.get_yticklabels()) if label.get_text()]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    shown = [box for box in boxes if drawn.bbox.overlaps(box)]
    assert len(shown) >= 7 + 3 + 4
    assert not any(one.overlaps(other) for n, one in enumerate(shown) for other in shown[:n])
    assert all(drawn.bbox.contains(*corner) for box in shown[:10] for corner in box.corners())


def save_scored(path: Path, network: Network, miou: float) -> None:
    save_checkpoint(path, network, replace(info_of(network), val_miou=miou))


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but DFANet A and B is timed, and two runs."""
    small = {name: replace(ROWS[name], input_size=(64, 96)) for name in TABLES["Table 5: whole networks"]}
    monkeypatch.setattr(tables, "ROWS", small)
    monkeypatch.setattr(tables, "TABLES", {"Table 5": tuple(small)})
    monkeypatch.chdir(tmp_path)
    network = lively_network(backbone="xception_b")
    save_scored(tmp_path / "run_a/best.safetensors", network, 12.34)
    save_scored(tmp_path / "run_b/best.safetensors", network, 23.45)
    main(["--rounds", "2", "--device", "cpu", "--runs", "run_a", "run_b/best.safetensors", "--out", "out"])
    printed = capsys.readouterr().out
    assert f"torch in fp32, threads of PyTorch: {default_threads('torch')}, medians of 2 interleaved rounds" in printed
    assert printed.count("| 7.8 | 7.30 |") == 2
    assert printed.index("| run_b | 23.4 | 0.0") < printed.index("| run_a | 12.3 | 0.0")
    assert (tmp_path / "out/figure1.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "out/figure1.svg").read_text()


def test_runs_that_cannot_be_drawn_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = lively_network(backbone="xception_b")
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, network, info_of(network))
    with pytest.raises(SystemExit, match="do not say what mIoU they have on val"):
        main(["--runs", str(path)])
    with pytest.raises(SystemExit, match="there is no such file"):
        main(["--runs", str(tmp_path / "nothing")])
    for folder in ("x", "y"):
        save_scored(tmp_path / folder / "run/best.safetensors", network, 50)
    with pytest.raises(SystemExit, match="two runs are called 'run'"):
        main(["--runs", str(tmp_path / "x/run"), str(tmp_path / "y/run/best.safetensors")])
    with pytest.raises(SystemExit):
        main(["--rounds", "0", "--runs", str(tmp_path / "x/run")])
    assert "--rounds is 0, but has to be at least 0, with --runs at least 1" in capsys.readouterr().err
