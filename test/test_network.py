"""The networks: size against the paper, any input size, the inference form."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import lively_network
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.network import NETWORKS, build_network
from dfanet_ros.network.base import Network
from dfanet_ros.network.complexity import PAPER_ROWS, PaperRow, complexity
from dfanet_ros.network.folded import FoldedBlock
from dfanet_ros.network.inference import enlarged_sum, inference_form
from dfanet_ros.network.layers import upsample
from dfanet_ros.network.refinement import RefiningBlock
from dfanet_ros.network.xception import CHANNELS, FCAttention

FAMILY = ["dfanet", "fast_scnn", "deeplabv3"]
BUILDS = [(name, backbone) for name, entry in NETWORKS.items() for backbone in entry.backbones or ("",)]


@pytest.mark.parametrize("row", PAPER_ROWS, ids=lambda row: row.name)
def test_size_of_each_row_is_the_published(row: PaperRow) -> None:
    ours = complexity(row.build(), row.input_size)
    if "torchvision" in row.name:
        assert ours == pytest.approx((row.gmacs, row.megabytes), rel=1e-4)
        return
    # The paper's third backbone adds as much to B as to A (0.2), although it has half of the operations there: the
    # row "Backbone B x3" fits none of its neighbours.
    if row.gmacs is not None:
        assert ours.gmacs == pytest.approx(row.gmacs, rel=0.08 if row.name == "Backbone B x3" else 0.05)
    assert ours.megabytes == pytest.approx(row.megabytes, rel=0.10)


def test_a_network_that_is_counted_stays_as_it_is() -> None:
    network = build_network("dfanet", num_classes=5, backbone="xception_b").train()
    complexity(network, (64, 64))
    assert network.training and all(tensor.device.type == "cpu" for tensor in network.state_dict().values())


def test_fast_scnn_has_its_papers_parameters() -> None:
    """1.11 million are those of its convolutions; normalisation adds 0.02."""
    network = build_network("fast_scnn", num_classes=19)
    convolutions = sum(layer.weight.numel() for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    assert round(convolutions / 1e6, 2) == 1.11
    assert round(parameters(network) / 1e6, 2) == 1.14


def empty(name: str, **options: object) -> Network:
    with torch.device("meta"):
        return build_network(name, num_classes=5, **options)


def parameters(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_every_option_changes_the_network() -> None:
    networks = [
        empty("dfanet", **options)
        for options in (
            {},
            {"high_level": False},
            {"low_level": False},
            {"attention": False},
            {"backbones": 2},
            {"high_level": False, "low_level": False, "aspp": True},
            {"input_scale": 0.5},
        )
    ]
    assert len({(parameters(network), network.logits_stride) for network in networks}) == len(networks)


def test_every_name_is_another_network() -> None:
    described = {(parameters(network), network.logits_stride) for network in (empty(n, backbone=b) for n, b in BUILDS)}
    assert len(described) == len(BUILDS)


@pytest.mark.parametrize(("name", "backbone"), BUILDS)
def test_options_build_it_again(name: str, backbone: str) -> None:
    """As weights files do, under any name of the class: the options say all."""
    network = empty(name, backbone=backbone)
    assert network.options.get("backbone", "") == backbone
    again = empty(name, **network.options)
    same_class = next(each for each in FAMILY if isinstance(network, NETWORKS[each].build))
    other = empty(same_class, **network.options)
    shapes = {key: tensor.shape for key, tensor in network.state_dict().items()}
    for each in (again, other):
        assert {key: tensor.shape for key, tensor in each.state_dict().items()} == shapes
        assert (each.stride, each.logits_stride) == (network.stride, network.logits_stride)
    assert network.stride % network.logits_stride == 0 and network.logits_stride % 2 == 0


SMALL = {name: lively_network(name, num_classes=3) for name in NETWORKS}
SCALED = {scale: lively_network(num_classes=3, backbone="xception_b", input_scale=scale) for scale in (0.5, 0.25)}
LOGITS_STRIDES = {"fast_scnn": 8, "deeplabv3": 16, "dfanet_quarter_scale": 16, 0.5: 8, 0.25: 16}  # all others 4


@pytest.mark.parametrize("which", [*SMALL, *SCALED], ids=str)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(height=st.integers(1, 150), width=st.integers(1, 150))
def test_any_size_gives_logits_of_that_size(which: str | float, height: int, width: int) -> None:
    network = (SMALL | SCALED)[which]
    images = torch.zeros(1, 3, height, width)
    with torch.inference_mode():
        coarse, full = network.coarse_logits(images), network(images)
    stride = LOGITS_STRIDES.get(which, 4)
    assert full.shape == (1, 3, height, width)
    assert coarse.shape == (1, 3, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("name", NETWORKS)
def test_auxiliary_features_are_what_they_say(name: str) -> None:
    network = SMALL[name]
    with torch.inference_mode():
        logits, features = network.outputs(torch.zeros(1, 3, network.stride, 2 * network.stride))
    cells = network.stride // network.logits_stride
    assert logits.shape == (1, 3, cells, 2 * cells)
    assert [feature.shape[1] for feature in features] == network.auxiliary_channels


def test_padding_does_not_move_the_image() -> None:
    """A size that no stride divides gives what the same image gives when extended by hand, pixel for pixel."""
    network = lively_network()
    image = torch.randn(1, 3, 100, 130)
    extended = image[:, :, torch.arange(128).clamp(max=99)][:, :, :, torch.arange(192).clamp(max=129)]
    with torch.inference_mode():
        torch.testing.assert_close(network.coarse_logits(image), network.coarse_logits(extended)[:, :, :25, :33])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in NETWORKS),
        ("dfanet", {"backbone": "xception_b"}),
        ("dfanet", {"high_level": False}),
        ("dfanet", {"input_scale": 0.5}),
        ("deeplabv3", {"backbone": "resnet50", "output_stride": 8}),
    ],
    ids=str,
)
@pytest.mark.parametrize("few_layers", [False, True], ids=["small maps", "few layers"])
def test_inference_form_gives_the_same_output(name: str, options: dict[str, object], few_layers: bool) -> None:
    network = lively_network(name, **options)
    folded = inference_form(network, few_layers)
    images = torch.randn(2, 3, 90, 140)
    with torch.inference_mode():
        expected, given = network(images), folded(images)
    assert (given - expected).norm() / expected.norm() < 1e-4
    kinds = {type(layer) for layer in folded.modules()}
    assert not kinds & {torch.nn.BatchNorm2d, FCAttention}, "something was not folded"
    assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules()), "the original was changed"


def test_inference_form_of_itself_is_itself() -> None:
    folded = inference_form(lively_network(num_classes=3, backbone="xception_b"))
    again = inference_form(folded)
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(again(images), folded(images))


def test_a_smaller_input_is_the_mean_of_areas() -> None:
    whole = SCALED[0.25]
    small = lively_network(num_classes=3, backbone="xception_b")
    small.load_state_dict(whole.state_dict())
    images = torch.randn(1, 3, 256, 512)
    with torch.inference_mode():
        expected = small.coarse_logits(torch.nn.functional.avg_pool2d(images, 4))
        torch.testing.assert_close(whole.coarse_logits(images), expected)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_an_output_stride_of_8_only_adds_places_between(backbone: str) -> None:
    """With the same parameters, every second feature of the encoder is what it was at 16."""
    coarse, fine = (lively_network("deeplabv3", backbone=backbone, output_stride=stride) for stride in (16, 8))
    fine.load_state_dict(coarse.state_dict())
    images = torch.randn(1, 3, 96, 128)
    with torch.inference_mode():
        expected, given = coarse.backbone(images), fine.backbone(images)
        for few, many in zip(expected, given, strict=True):
            torch.testing.assert_close(many[:, :, ::2, ::2], few, rtol=1e-3, atol=1e-4 * few.abs().max().item())
        assert fine(images).shape == coarse(images).shape


@pytest.mark.parametrize(("stride", "rates"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_the_pyramids_rates_double_at_an_output_stride_of_8(stride: int, rates: list[int]) -> None:
    """So that each of its taps stays where it was in the image."""
    pyramid = empty("deeplabv3", output_stride=stride).classifier[0]
    dilations = [layer.dilation for layer in pyramid.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert [dilation for dilation in dilations if dilation != (1, 1)] == [(rate, rate) for rate in rates]


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


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    height=st.integers(9, 40),
    width=st.integers(9, 40),
)
def test_maps_are_enlarged_and_added_by_products(sizes: list[tuple[int, int]], height: int, width: int) -> None:
    random = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 3, *size, generator=random).double() for size in sizes]
    expected = sum(upsample(values, (height, width)) for values in maps)
    torch.testing.assert_close(enlarged_sum(maps, (height, width)), expected)


def folded_blocks() -> list[FoldedBlock]:
    """The blocks of a refining backbone's enc2, with normalisation folded but not yet rewritten."""
    network = lively_network(backbone="xception_b").eval()
    encoder = network.backbones[1].enc2
    return list(inference_form(torch.nn.Sequential(encoder))[0])


@pytest.mark.parametrize("name", FAMILY)
def test_each_image_of_a_batch_is_on_its_own(name: str) -> None:
    network = SMALL[name]
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


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_loss_is_that_of_no_knowledge_and_every_layer_learns(name: str) -> None:
    """With the fewest images a batch may have, in which pooled maps have one value an image."""
    torch.manual_seed(0)
    network = build_network(name, num_classes=11)
    size = 2 * network.stride
    logits = network(torch.randn(network.least_batch, 3, size, size))
    loss = torch.nn.functional.cross_entropy(logits, torch.randint(11, (len(logits), size, size)))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(11), rel=0.1)
    assert all(p.grad is not None for p in network.parameters()), "a layer is not used"


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("unet", {}, "network is 'unet', but has to be one of dfanet, fast_scnn, deeplabv3, "),
        ("dfanet", {"backbone": "resnet18"}, "backbone is 'resnet18', but has to be one of xception_a, xception_b for"),
        ("deeplabv3", {"backbone": "vgg"}, "backbone is 'vgg', but has to be one of resnet18, resnet50, "),
        ("fast_scnn", {"backbone": "resnet18"}, "backbone is 'resnet18', but network fast_scnn has none to choose"),
        ("deeplabv3", {"output_stride": 32}, "output_stride is 32, but DeepLabV3 has 16 and 8"),
        ("dfanet", {"input_scale": 0.3}, "input_scale is 0.3, but has to be one of 1, 0.5 and 0.25"),
        ("dfanet", {"aspp": True}, "aspp takes the place of the decoder: set high_level and low_level to false"),
        ("dfanet", {"backbones": 9}, "backbones is 9, but DFANet has 1 to 4"),
        ("dfanet", {"depth": 9}, "cannot be built with"),
    ],
)
def test_what_there_is_not_is_refused(name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        build_network(name, num_classes=3, **options)
