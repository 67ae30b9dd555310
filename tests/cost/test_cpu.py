"""CPU kernels: the plain law, lanes and tails, the cache, and the kernel times that ESP-DL publishes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hil.cost import CostModel
from hil.cost.cpu import cpu_cycles, cpu_parameters, miss_share
from hil.cost.parameters import Theta
from hil.cost.workload import Workload, build_workload
from hil.network import Network, Op, Tensor
from hil.plan import make_plan
from hil.platform import load_platform, make_target


def conv(size: int, channels: int, filters: int, kernel: int, *, depthwise: bool = False, bits: int = 8) -> Network:
    """A convolution of stride 1 without padding on a square map."""
    out = size - kernel + 1
    weights = kernel * kernel * filters * (1 if depthwise else channels)
    op = Op(
        index=0,
        name="conv",
        type="depthwise_conv2d" if depthwise else "conv2d",
        inputs=(0,),
        outputs=(1,),
        kernel=(kernel, kernel),
        groups=channels if depthwise else 1,
        macs=weights * out * out,
        weights=weights,
        weight_bytes=weights * bits // 8,
        weight_bits=bits,
    )
    dtype = f"int{bits}"
    shapes = {"in": (1, size, size, channels), "out": (1, out, out, filters)}
    tensors = tuple(Tensor(name, shape, dtype, bits=bits) for name, shape in shapes.items())
    return Network(name="conv", tensors=tensors, ops=(op,), inputs=(0,), outputs=(1,))


def work(network: Network, platform: str = "esp32-s3", point: str = "240mhz-esp-dl") -> Workload:
    return build_workload([make_plan(network, make_target(load_platform(platform), point))])


def theta(**values: float) -> Theta:
    """All parameters zero but the given ones; the scale is one."""
    names = [p.name for p in cpu_parameters("xtensa-lx7")]
    return {name: np.full((1, 1), values.get(name, 1.0 if name == "cpu_scale" else 0.0)) for name in names}


def cycles(network: Network, **values: float) -> float:
    return float(cpu_cycles(work(network), theta(**values))[0, 0])


def test_plain_law_is_macs_times_cycles_per_mac_and_scale() -> None:
    assert cycles(conv(8, 16, 32, 3), cpu_conv_cycles_per_mac=2.0, cpu_scale=1.5) == 3.0 * 9 * 16 * 32 * 36


def test_sixteen_bits_fill_two_lanes() -> None:
    one, two = (cycles(conv(8, 16, 32, 3, bits=b), cpu_conv_cycles_per_mac=1.0, cpu_lanes=16.0) for b in (8, 16))
    assert two == 2 * one


def test_channels_beyond_the_lanes_pay() -> None:
    per_channel = 9 * 16 * 36
    tail = {"cpu_tail_cycles_per_mac": 1.0, "cpu_lanes": 16.0}
    assert cycles(conv(8, 16, 32, 3), **tail) == 0
    assert cycles(conv(8, 16, 35, 3), **tail) == pytest.approx(3 * per_channel)
    assert cycles(conv(8, 16, 12, 3, bits=16), **tail) == pytest.approx(4 * per_channel)


def test_kernel_calls_are_counted_per_output_position() -> None:
    assert cycles(conv(8, 16, 32, 3), cpu_position_cycles=200.0) == 200 * 36


def test_one_input_channel() -> None:
    parameters = {"cpu_single_channel_cycles_per_mac": 1.0}
    assert cycles(conv(8, 1, 32, 3), **parameters) == 9 * 32 * 36
    assert cycles(conv(8, 3, 32, 3), **parameters) == 0


def test_misses_solve_their_equation() -> None:
    assert miss_share(np.array([100.0, 1000.0]), 1000.0).tolist() == [0.0, 0.0]
    for ratio in (1.05, 1.5, 2.0, 5.0):
        miss = float(miss_share(np.array([ratio]), 1.0)[0])
        assert 1.0 - miss == pytest.approx(math.exp(-miss * ratio), abs=2e-3)
    assert miss_share(np.array([1e9]), 1.0)[0] == pytest.approx(1.0)
    assert miss_share(np.array([1e9]), 0.0)[0] == 1.0


def test_weights_that_exceed_the_cache_are_fetched_at_every_position() -> None:
    network = conv(10, 512, 1024, 1)
    found = cycles(network, cpu_refetch_cycles_per_byte=2.0, cpu_cache_bytes=65536.0)
    assert found == pytest.approx(2.0 * 512 * 1024 * 99, rel=1e-3)
    assert cycles(conv(10, 64, 64, 1), cpu_refetch_cycles_per_byte=2.0, cpu_cache_bytes=65536.0) == 0


def test_window_rows_that_exceed_the_cache_are_fetched_again() -> None:
    network = conv(64, 64, 64, 3, depthwise=True)
    found = cycles(network, cpu_window_cycles_per_byte=1.0, cpu_cache_bytes=1024.0)
    assert found == pytest.approx(2 * 64 * 64 * 64, rel=1e-3)
    assert cycles(network, cpu_window_cycles_per_byte=1.0, cpu_cache_bytes=16384.0) == 0


# espressif/esp-dl@ebda7ce operator_performance.md, ESP32-S3 at 240 MHz, without the row of many unaligned channels.
ESP_DL_KERNELS = [
    (conv(20, 16, 32, 1), 422e-6),
    (conv(100, 32, 32, 3, depthwise=True), 5542e-6 * (98 * 98) / (98 * 48)),
]


@pytest.mark.parametrize(("network", "seconds"), ESP_DL_KERNELS)
def test_priors_of_esp_dl_give_its_published_kernel_times(network: Network, seconds: float) -> None:
    plan = make_plan(network, make_target(load_platform("esp32-s3"), "240mhz-esp-dl"))
    found = CostModel(plan.target, artefact=None).predict([plan]).op_seconds[0]
    assert found == pytest.approx(seconds, rel=0.3)


def test_flash_is_slower_than_psram() -> None:
    network = conv(10, 512, 1024, 1)
    seconds = []
    for point in ("240mhz-esp-dl", "240mhz-esp-dl-flash"):
        plan = make_plan(network, make_target(load_platform("esp32-s3"), point))
        seconds.append(CostModel(plan.target, artefact=None).predict([plan]).op_seconds[0])
    assert seconds[1] > 2 * seconds[0]


def test_sigma_points_and_ops_keep_their_shape() -> None:
    scales = {"cpu_scale": np.array([[1.0], [2.0], [3.0]])}
    several = {**theta(cpu_conv_cycles_per_mac=1.0, cpu_op_cycles=10.0), **scales}
    found = cpu_cycles(work(conv(8, 16, 32, 3)), several)
    assert found.shape == (3, 1)
    assert found[2, 0] == 3 * found[0, 0]
