"""A run's config: from YAML and command line, wrong ones are refused with a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("jsonargparse", reason="jsonargparse is not installed")

from training_runs import ROOT, TINY, run, write_config

from training.config import Classification, Config, ConfigError, as_yaml, load_config, parse_command

CONFIGS = sorted((ROOT / "training/configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configs_can_be_read(path: Path) -> None:
    kind = Classification if path.stem.startswith("imagenet") else Config
    config = load_config(kind, path)
    given, read = yaml.safe_load(path.read_text()), yaml.safe_load(as_yaml(config))
    assert {key: read[key] for key in given} == given


def test_the_command_line_wins(tmp_path: Path) -> None:
    words = ["--config", str(write_config(tmp_path / "run.yaml")), "--out", "runs/x", "--epochs", "6"]
    words += ["--crop", "[96, 128]", "--train_parts", "[train, val]", "--resume", "--data", "~/here"]
    config, command = parse_command(Config, "", words)
    assert (config.epochs, config.crop, config.train_parts) == (6, (96, 128), ("train", "val"))
    assert (command.data, command.out, command.resume) == (Path.home() / "here", Path("runs/x"), True)
    config, command = parse_command(Config, "", words[:4])
    assert (config.epochs, config.seed, command.data, command.resume) == (4, 0, None, False)


@pytest.mark.parametrize(
    ("network", "backbone"), [("dfanet", "xception_a"), ("deeplabv3", "resnet18"), ("fast_scnn", "")]
)
def test_a_run_says_which_backbone_it_takes(tmp_path: Path, network: str, backbone: str) -> None:
    config = load_config(Config, write_config(tmp_path / "run.yaml", network=network, backbone="auto"))
    assert config.backbone == backbone
    (tmp_path / "again.yaml").write_text(as_yaml(config))
    assert load_config(Config, tmp_path / "again.yaml") == config


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    config = load_config(Config, write_config(tmp_path / "run.yaml", scale=[0.5, 2.0], ohem=0.7))
    (tmp_path / "again.yaml").write_text(as_yaml(config))
    assert load_config(Config, tmp_path / "again.yaml") == config


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epoch": 3}, "epoch"),
        ({"data_set": "mars"}, "data_set is 'mars', but has to be one of camvid, "),
        ({"network": "unet"}, "network is 'unet', but has to be one of dfanet, fast_scnn, deeplabv3"),
        (
            {"backbone": "resnet"},
            "backbone is 'resnet', but has to be one of xception_a, xception_b for network dfanet",
        ),
        ({"network": "deeplabv3"}, "backbone is 'xception_b', but has to be one of resnet18, "),
        ({"network": "fast_scnn"}, "backbone is 'xception_b', but network fast_scnn has none to choose: leave it at"),
        ({"optimizer": "adam"}, "optimizer.*sgd.*adamw"),
        ({"crop": None}, "crop"),
        ({"crop": [0, 64]}, "crop is 0, but has to be larger than 0"),
        ({"epochs": "many"}, "epochs.*many"),
        ({"epochs": 5}, r"epochs is 5, but has to be a multiple of evaluate_every \(2\)"),
        ({"scale": [2.0, 0.5]}, r"scale is \[2.0, 0.5\], but has to be \[smallest, largest\]"),
        ({"ohem": 1.5}, "ohem is 1.5, but has to be at least 0 and less than 1"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0, but has to be at least 0 and less than 1"),
        ({"label_smoothing": float("nan")}, "label_smoothing is nan, but"),
        ({"colour": -0.1}, "colour is -0.1, but has to be at least 0"),
        ({"warmup_iterations": -1}, "warmup_iterations is -1, but has to be at least 0$"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": -1}, "workers is -1"),
        ({"train_parts": []}, "train_parts is empty"),
        ({"devices": 3}, r"batch_size is 4, .* multiple of the number of processes \(devices 3 x num_nodes 1 = 3\)"),
    ],
    ids=str,
)
def test_wrong_configs_are_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    values = {key: value for key, value in (TINY | changes).items() if value is not None}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match=f"(?s){says}"):
        load_config(Config, path)


def test_a_run_that_is_older_than_a_key_can_go_on(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="Lightning is not installed")
    from training.runs import refuse_changes

    path = write_config(tmp_path / "config.yaml", network="dfanet")
    refuse_changes(path, load_config(Config, path))
    with pytest.raises(ConfigError, match="network was dfanet and is backbone"):
        refuse_changes(path, load_config(Config, write_config(tmp_path / "other.yaml", network="backbone")))


def test_commands_explain_themselves(tmp_path: Path) -> None:
    for module in ("train", "pretrain"):
        text = run(module, help=True).stdout
        assert "--config" in text and "--out" in text and f"python -m training.{module}" in text
        assert "Traceback" not in text
    wrong = run("train", config=write_config(tmp_path / "run.yaml", data_set="mars"), out=tmp_path / "out")
    assert wrong.returncode != 0 and "data_set is 'mars', but has to be one of camvid" in wrong.stderr
    assert "Traceback" not in wrong.stderr and not (tmp_path / "out").exists()
