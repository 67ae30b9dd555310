"""Placement, limits and memory fit against published limits and deployments."""

from __future__ import annotations

import pytest

from hil import zoo
from hil.network import Network, Op, Tensor
from hil.plan import Plan, make_plan
from hil.platform import load_platform, make_target, platform_files

ZOO = zoo.names()


def conv_network(
    *,
    size: int = 16,
    channels: int = 8,
    filters: int = 8,
    kernel: int = 3,
    stride: int = 1,
    dtype: str = "int8",
    activation: str | None = "relu",
) -> Network:
    """One convolution with padding that keeps the size (divided by the stride)."""
    bits = {"int8": 8, "int16": 16, "float32": 32}[dtype]
    out = -(-size // stride)
    weights = kernel * kernel * channels * filters
    tensors = (
        Tensor("in", (1, size, size, channels), dtype, bits=bits),
        Tensor("out", (1, out, out, filters), dtype, bits=bits),
    )
    op = Op(
        index=0,
        name="conv",
        type="conv2d",
        inputs=(0,),
        outputs=(1,),
        kernel=(kernel, kernel),
        stride=(stride, stride),
        padding=(kernel // 2,) * 4,
        activation=activation,
        macs=weights * out * out,
        weights=weights,
        weight_bytes=weights * bits // 8,
        weight_bits=bits,
    )
    return Network("net", tensors, (op,), (0,), (1,))


def plan(network: Network, platform: str = "max78000", **overrides: str) -> Plan:
    items = {key.replace("__", "."): value for key, value in overrides.items()}
    return make_plan(network, make_target(load_platform(platform), None, items))


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (conv_network(kernel=5), "kernel 5x5: only 1x1, 3x3"),
        (conv_network(stride=2), "stride 2x2: only 1x1"),
        (conv_network(activation="relu6"), "activation relu6: only relu, abs"),
        (conv_network(dtype="float32"), "32-bit weights: only 1, 2, 4, 8"),
        (conv_network(size=4, channels=1028), "1028 input channels: at most 1024"),
    ],
)
def test_limits_of_the_max78000_send_an_op_to_the_host(network: Network, reason: str) -> None:
    made = plan(network)
    assert made.fallback == (0,)
    assert made.placements[0].reason == reason


@pytest.mark.parametrize("network", [conv_network(), conv_network(kernel=1), conv_network(channels=1024, size=4)])
def test_ops_within_the_limits_stay_on_the_max78000(network: Network) -> None:
    made = plan(network)
    assert made.fallback == () and made.fits


def test_maps_over_one_data_memory_stream() -> None:
    """8,192 pixels per channel fit a data memory: 90 x 90 does, 96 x 96 does not (ai8x-synthesis README)."""
    assert not plan(conv_network(size=90, channels=3)).layers[0].streaming
    two = plan(_chain(conv_network(size=96, channels=3), 2))
    assert [layer.streaming for layer in two.layers] == [True, True]


def test_too_large_for_the_data_memory_is_a_result_not_an_exception() -> None:
    made = plan(_chain(conv_network(size=90, channels=64, filters=64), 2))
    assert not made.fits
    assert made.reasons == ("data memory holds 524288 B, needs 1036800 B at op 0 (conv)",)


def test_too_many_weights_are_a_result() -> None:
    made = plan(conv_network(size=4, channels=512, filters=128))
    assert made.reasons[0] == "weight memory holds 442368 B, needs 589824 B"


def test_kernels_of_one_processor_are_limited() -> None:
    """Three input channels keep 1,000 kernels on each of three processors: 768 fit (ai8x-synthesis README)."""
    made = plan(conv_network(size=4, channels=3, filters=1000))
    assert made.reasons == ("1000 kernels per processor, at most 768, at op 0 (conv)",)


def test_maps_held_for_a_skip_count() -> None:
    """Four 32 x 32 x 64 maps of 64 KiB: the first lives until the addition, beside input and output of each layer."""
    tensors = [Tensor(f"t{i}", (1, 32, 32, 64), "int8") for i in range(5)]
    weights = 9 * 64 * 64
    ops = [
        Op(
            index=i,
            name=f"conv{i}",
            type="conv2d",
            inputs=(i,),
            outputs=(i + 1,),
            kernel=(3, 3),
            padding=(1, 1, 1, 1),
            macs=weights * 1024,
            weights=weights,
            weight_bytes=weights,
        )
        for i in range(3)
    ]
    ops.append(Op(index=3, name="add", type="add", inputs=(1, 3), outputs=(4,)))
    made = plan(Network("skip", tuple(tensors), tuple(ops), (0,), (4,)))
    data = next(use for use in made.memory if use.name == "data memory")
    assert data.needed_bytes == 3 * 65536


def test_a_streamed_map_that_cannot_be_stored_does_not_fit() -> None:
    made = plan(_chain(conv_network(size=200, channels=3, filters=16), 2))
    assert not made.fits
    assert made.reasons[0] == "the output of op 1 exceeds one data memory (8192 pixels), and nothing streams out"


def test_host_ops_must_fit_the_hosts_own_memory() -> None:
    """A 5x5 convolution over 512 x 512 pixels runs on the core, whose 128 KiB hold none of it."""
    made = plan(conv_network(size=512, kernel=5))
    assert any(reason.startswith("host RAM holds 131072 B, needs ") for reason in made.reasons)


def test_an_override_changes_the_verdict() -> None:
    network = conv_network(size=64, channels=16, filters=16)
    assert plan(network, "stm32l4r5").fits
    small = plan(network, "stm32l4r5", **{"memories__flash__size_bytes": "1KiB"})
    assert not small.fits and "1.0 KiB for weights in flash" in small.reasons[0]


@pytest.mark.parametrize("name", ["cifar10_nas_max", "resnet", "simplenet", "autoencoder"])
def test_the_papers_networks_run_whole_on_the_max78000(name: str) -> None:
    made = plan(zoo.load(name))
    assert made.fallback == () and made.fits


# Shares of the weight memory that the vendor's tool prints: 301,760 B 68.2 %, 381,792 B 86.3 %, 136,448 B 30.8 %.
@pytest.mark.parametrize(
    ("name", "share"), [("cifar10_nas_max", 0.682), ("resnet", 0.863), ("simplenet", 0.863), ("autoencoder", 0.308)]
)
def test_weight_memory_shares_are_the_vendors(name: str, share: float) -> None:
    use = plan(zoo.load(name)).memory[0]
    assert use.capacity_bytes is not None
    assert use.needed_bytes / use.capacity_bytes == pytest.approx(share, abs=0.001)


@pytest.mark.parametrize("platform", platform_files())
@pytest.mark.parametrize("name", ZOO)
def test_every_op_of_every_zoo_network_is_placed_with_a_reason(name: str, platform: str) -> None:
    target = make_target(load_platform(platform))
    made = make_plan(zoo.load(name), target, use_vela=False)
    assert len(made.placements) == len(made.network.ops)
    for index in made.fallback:
        assert made.placements[index].reason
    if target.npu is None:
        assert made.npu_macs == 0
    assert made.fits == (not made.reasons)


def _chain(network: Network, count: int) -> Network:
    """The network's convolution several times in a row; its channels must stay what they are from the second on."""
    first = network.ops[0]
    size, filters = network.tensors[1].shape[1], network.tensors[1].shape[3]
    tensors, ops = [*network.tensors], [first]
    for index in range(1, count):
        weights = 9 * filters * filters
        tensors.append(Tensor(f"t{index}", (1, size, size, filters), "int8"))
        ops.append(
            Op(
                index=index,
                name=f"conv{index}",
                type="conv2d",
                inputs=(index,),
                outputs=(index + 1,),
                kernel=(3, 3),
                padding=(1, 1, 1, 1),
                macs=weights * size * size,
                weights=weights,
                weight_bytes=weights,
            )
        )
    return Network("chain", tuple(tensors), tuple(ops), (0,), (count,))
