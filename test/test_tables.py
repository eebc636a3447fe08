"""`python -m training.tables`: the paper's rows, measured times, and figure 1 of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import info_of, lively_network

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from dfanet_ros.checkpoint import save_checkpoint
from dfanet_ros.network import NETWORKS
from dfanet_ros.network.complexity import PAPER_ROWS, Complexity
from training import tables
from training.tables import ROWS, TABLES, Run, Timed, figure, main, run_table, table, time_all


def test_every_row_is_in_a_table() -> None:
    named = {name for names in TABLES.values() for name in names}
    assert named == set(ROWS)
    assert {row.name for row in PAPER_ROWS} <= named
    assert all(row.network in NETWORKS for row in ROWS.values())


def test_ratios_are_to_dfanet_a() -> None:
    names = [tables.REFERENCE, "DFANet A' (512 x 1024)"]
    counts = {name: Complexity(1.234, 5.678) for name in names}
    lines = table(names, counts, {names[0]: 20.0, names[1]: 5.0}).splitlines()
    assert lines[2] == f"| {names[0]} | 3.4 | 1.23 | 7.8 | 5.68 | 20.0 | 1.00 |"
    assert lines[3] == f"| {names[1]} | 1.7 | 1.23 | 7.8 | 5.68 | 5.0 | 0.25 |"


def test_every_network_is_timed_in_every_round() -> None:
    calls: list[str] = []
    timed = [Timed(lambda: calls.append("a")), Timed(lambda: calls.append("b"))]
    time_all(timed, 3)
    assert calls == ["a", "b"] * 3
    assert all(len(each.times) == 3 and each.median > 0 for each in timed)


def test_figure_has_a_circle_for_each_run() -> None:
    runs = [Run("slow", 70.0, 8.0, 100.0), Run("fast", 60.0, 1.0, 25.0)]
    slow, fast = figure(runs).axes[0].collections
    assert slow.get_offsets().tolist() == [[8.0, 70.0]]
    assert fast.get_sizes()[0] == pytest.approx(4 * slow.get_sizes()[0]), "four times as many frames a second"
    assert run_table(runs[::-1]).splitlines()[2:] == ["| slow | 70.0 | 8.00 | 100.0 |", "| fast | 60.0 | 1.00 | 25.0 |"]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but DFANet A and B is timed, and one run."""
    small = {name: replace(ROWS[name], input_size=(64, 96)) for name in TABLES["Table 5: whole networks"]}
    monkeypatch.setattr(tables, "ROWS", small)
    monkeypatch.setattr(tables, "TABLES", {"Table 5": tuple(small)})
    run = tmp_path / "run_a"
    network = lively_network(backbone="xception_b")
    save_checkpoint(run / "best.safetensors", network, replace(info_of(network), val_miou=12.34))
    main(["--rounds", "2", "--device", "cpu", "--runs", str(run), "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert "torch in fp32, medians of 2 interleaved rounds" in printed
    assert printed.count("| 7.8 |") == 2 and "| run_a | 12.3 | " in printed
    assert (tmp_path / "out/figure1.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "out/figure1.svg").read_text()
    main(["--rounds", "0", "--device", "cpu"])
    assert "ms a frame" not in capsys.readouterr().out


def test_weights_without_a_score_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = lively_network(backbone="xception_b")
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, network, info_of(network))
    with pytest.raises(SystemExit, match="do not say what mIoU they have on val"):
        main(["--runs", str(path)])
    with pytest.raises(SystemExit, match="there is no such file"):
        main(["--runs", str(tmp_path / "nothing")])
