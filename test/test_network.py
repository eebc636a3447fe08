"""The networks: size against the paper, any input size, the inference form."""

from __future__ import annotations

import pytest
import torch
from conftest import lively_network
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.network import build_network
from dfanet_ros.network.complexity import PAPER_ROWS, PaperRow, complexity
from dfanet_ros.network.inference import inference_form
from dfanet_ros.network.layers import upsample
from dfanet_ros.network.refinement import RefiningBlock
from dfanet_ros.network.xception import CHANNELS, Block, FCAttention


@pytest.mark.parametrize("row", PAPER_ROWS, ids=lambda row: row.name)
def test_size_of_each_row_is_the_papers(row: PaperRow) -> None:
    ours = complexity(build_network("dfanet", num_classes=19, **row.options), row.input_size)
    # The paper's third backbone adds as much to B as to A (0.2), although it has half of the operations there: the
    # row "Backbone B x3" fits none of its neighbours.
    assert ours.gmacs == pytest.approx(row.gmacs, rel=0.08 if row.name == "Backbone B x3" else 0.05)
    assert ours.megabytes == pytest.approx(row.megabytes, rel=0.10)


def test_every_option_changes_the_network() -> None:
    sizes = [
        complexity(build_network("dfanet", num_classes=19, **options), (256, 256))
        for options in ({}, {"high_level": False}, {"low_level": False}, {"attention": False}, {"backbones": 2})
    ]
    assert len({size.gmacs for size in sizes}) == len(sizes)


SMALL = {count: lively_network(num_classes=3, backbone="xception_b", backbones=count) for count in (1, 3)}


@settings(max_examples=15, deadline=None, derandomize=True)
@given(height=st.integers(1, 150), width=st.integers(1, 150), backbones=st.sampled_from(sorted(SMALL)))
def test_any_size_gives_logits_of_that_size(height: int, width: int, backbones: int) -> None:
    network = SMALL[backbones]
    with torch.inference_mode():
        logits = network(torch.zeros(1, 3, height, width))
        coarse = network.coarse_logits(torch.zeros(1, 3, height, width))
    assert logits.shape == (1, 3, height, width)
    assert coarse.shape == (1, 3, -(-height // 4), -(-width // 4))


def test_padding_does_not_move_the_image() -> None:
    """A size that no stride divides gives what the same image gives when extended by hand, pixel for pixel."""
    network = lively_network()
    image = torch.randn(1, 3, 100, 130)
    extended = image[:, :, torch.arange(128).clamp(max=99)][:, :, :, torch.arange(192).clamp(max=129)]
    with torch.inference_mode():
        torch.testing.assert_close(network.coarse_logits(image), network.coarse_logits(extended)[:, :, :25, :33])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"backbone": "xception_b"},
        {"backbones": 1, "high_level": False, "low_level": False},
        {"high_level": False},
        {"low_level": False},
        {"attention": False},
    ],
    ids=str,
)
def test_inference_form_gives_the_same_output(options: dict[str, object]) -> None:
    network = lively_network(**options)
    folded = inference_form(network)
    images = torch.randn(2, 3, 90, 140)
    with torch.inference_mode():
        expected, given = network(images), folded(images)
    assert (given - expected).norm() / expected.norm() < 1e-4
    kinds = {type(layer) for layer in folded.modules()}
    assert not kinds & {torch.nn.BatchNorm2d, FCAttention}, "something was not folded"
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules()), "the original was changed"


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (3, 5), (8, 2)])
def test_a_refining_block_needs_no_enlarged_maps(size: tuple[int, int]) -> None:
    """To rounding of the coefficients, also in the first row and column, where the enlarged map ends."""
    (first, *_), channels = folded_blocks(), CHANNELS["xception_b"]
    block = RefiningBlock(first, coarse=channels[2]).double()
    random = torch.Generator().manual_seed(0)
    attention = torch.randn(2, channels[2], *size, generator=random).double()
    height, width = 4 * size[0], 4 * size[1]
    enc2 = torch.randn(2, channels[0], height, width, generator=random).double()
    with torch.inference_mode():
        expected = first.double()(torch.cat([upsample(attention, (height, width)), enc2], 1))
        result = block(attention, enc2)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def folded_blocks() -> list[Block]:
    """The blocks of a refining backbone's enc2, with normalisation folded but not yet rewritten."""
    network = lively_network(backbone="xception_b").eval()
    encoder = network.backbones[1].enc2
    return list(inference_form(torch.nn.Sequential(encoder))[0])


def test_each_image_of_a_batch_is_on_its_own() -> None:
    network = lively_network(backbone="xception_b")
    images = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = network(images)
        alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-4)


def test_gradients_neither_explode_nor_vanish_at_the_start() -> None:
    """With default initialisation the first backbone's gradient is over 100 times the last's."""
    torch.manual_seed(0)
    network = build_network("dfanet", num_classes=11)
    logits = network(torch.randn(4, 3, 128, 128))
    torch.nn.functional.cross_entropy(logits, torch.randint(11, (4, 128, 128))).backward()
    norms = [
        torch.stack([p.grad.norm() for p in backbone.parameters() if p.grad is not None]).norm().item()
        for backbone in network.backbones
    ]
    assert max(norms) < 5 * min(norms), norms
    assert all(p.grad is not None for p in network.parameters()), "a layer is not used"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("unet", {}, "network is 'unet', but there are only these: dfanet"),
        ("dfanet", {"backbone": "resnet"}, "backbone is 'resnet', but DFANet has these: xception_a, xception_b"),
        ("dfanet", {"backbones": 9}, "backbones is 9, but DFANet has 1 to 4"),
        ("dfanet", {"depth": 9}, "cannot be built with"),
    ],
)
def test_what_there_is_not_is_refused(name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_network(name, num_classes=3, **options)
