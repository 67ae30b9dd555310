"""Sweeps: exponents in closed form, and the steps that the hardware is known to have, where it has them."""

from __future__ import annotations

import math

import pytest

from hil import zoo
from hil.analyze.causes import CAUSES, Decomposition
from hil.analyze.scaling import AXES, Change, Point, Scaling, exponent, first_ops, scale, sizes
from hil.backend.run import Interval
from hil.errors import ConfigError
from hil.network import Network
from hil.platform import load_platform, make_target


def swept(axis: str, platform: str, values: range, template: str | Network = "cnn", **overrides: str) -> Scaling:
    target = make_target(load_platform(platform), None, {f"costs.{name}": text for name, text in overrides.items()})
    return scale(axis, "cnn", sizes(axis, template, values), target)


def steps(scaling: Scaling) -> dict[tuple[int, int], Change]:
    return {(change.before, change.after): change for change in scaling.changes if change.kind == "step"}


def test_the_exponent_in_closed_form() -> None:
    def point(macs: int, seconds: float) -> Point:
        span = Interval(mean=seconds, low=seconds, high=seconds)
        return Point(1, "n", macs, span, span, True, 0, Decomposition(dict.fromkeys(CAUSES, 0.0), ()))

    assert exponent(point(10, 1.0), point(20, 2.0)) == pytest.approx(1.0)
    assert exponent(point(10, 1.0), point(20, 4.0)) == pytest.approx(2.0)
    assert exponent(point(10, 3.0), point(20, 3.0)) == pytest.approx(0.0)
    assert exponent(point(10, 1.0), point(10, 2.0)) is None
    assert exponent(point(0, 1.0), point(10, 2.0)) is None


def test_max78000_steps_at_64_channels_and_nowhere_else() -> None:
    """A layer with more than 64 input channels is computed in two passes: one for every 64."""
    found = swept("width", "max78000", range(56, 73))
    (step,) = steps(found).values()
    assert (step.before, step.after, step.cause) == (64, 65, "tiles")
    assert step.reasons == ("65 input channels take 2 passes of 64, 64 took 1",)
    assert step.op == "op 2 (conv2d_2, conv2d)"
    # 32x32 pixels of the first layer, 16x16 of the second, ten outputs: a cycle per pixel, output channel and pass.
    for point in found.points:
        passes = math.ceil(point.value / 64)
        cycles = 1024 * point.value + 256 * point.value * passes + 10 * passes
        used = point.causes.seconds["peak"] + point.causes.seconds["tiles"]
        assert used * 50e6 == pytest.approx(cycles)


def test_max78000_steps_at_every_multiple_of_64() -> None:
    assert set(steps(swept("width", "max78000", range(60, 200)))) == {(64, 65), (128, 129), (192, 193)}


def test_a_tile_family_steps_exactly_at_the_tile() -> None:
    """GAP9's NE16 takes 16 input channels at a time."""
    found = steps(swept("width", "gap9", range(10, 70)))
    assert set(found) == {(16, 17), (32, 33), (48, 49), (64, 65)}
    assert {change.cause for change in found.values()} == {"tiles"}
    assert all(f"{change.after} input channels take" in change.reasons[0] for change in found.values())


def test_between_steps_growth_comes_cheap_and_tiles_are_why() -> None:
    """Filling a tile costs nothing: MACs grow with the square of the width, the time of NE16 with its outputs."""
    flat = [change for change in swept("width", "gap9", range(34, 48)).changes if change.kind == "flat"]
    assert [(change.before, change.after, change.cause) for change in flat] == [(34, 47, "tiles")]
    assert flat[0].excess_s < 0


def test_a_plain_core_is_linear() -> None:
    found = swept("width", "stm32l4r5", range(32, 129, 8))
    assert found.changes == ()
    assert found.typical == pytest.approx(1.0, abs=0.02)


def test_vector_lanes_step_at_their_multiple() -> None:
    """ESP-DL on the ESP32-P4 computes 16 output channels at once; the tail of 17 takes a slower path."""
    found = steps(swept("width", "esp32-p4", range(28, 40)))
    assert (32, 33) in found and found[32, 33].cause == "tiles"
    assert "33 output channels take 3 vectors of 16, 32 took 2" in found[32, 33].reasons[0]


def test_an_op_that_falls_back_makes_a_step() -> None:
    """The MAX78000 pools at most 16x16 pixels; the second stage has half of the input's side."""
    found = swept("resolution", "max78000", range(26, 43, 2))
    (step,) = steps(found).values()
    assert (step.before, step.after, step.cause) == (32, 34, "fallback")
    assert step.reasons == ("op 3 (global_avg_pool) falls back to the host: kernel 17x17: at most 16x16",)
    assert [point.fallback_ops for point in found.points] == [0] * 4 + [1] * 5


def test_maps_beyond_a_data_memory_begin_to_stream() -> None:
    """8192 pixels of a channel fit one data memory of the MAX78000: the 90x90 of the first layer do, 91x91 do not."""
    found = swept("resolution", "max78000", range(89, 93))
    streams = [change for change in found.changes if any("stream" in reason for reason in change.reasons)]
    assert [(change.before, change.after) for change in streams] == [(90, 91)]


def test_weights_beyond_the_memory_are_reported_without_a_step() -> None:
    """442,368 bytes of weight memory: 9*3*w + 9*w*w + 10*w is more from w = 220 on."""
    found = swept("width", "max78000", range(216, 223))
    assert [point.value for point in found.points if point.fits] == [216, 217, 218, 219]
    limit = next(change for change in found.changes if change.kind == "limit")
    assert (limit.before, limit.after, limit.cause) == (219, 220, None)
    assert limit.reasons[0].startswith("does not fit: weight memory holds 442368 B, needs ")


def test_weights_beyond_the_cache_are_a_step_of_memory() -> None:
    """With a cache of 16 KiB and dear misses, the second layer's 9*w*w weights exceed it from w = 43 on."""
    found = swept("width", "stm32l4r5", range(40, 47), cpu_cache_bytes="16384", cpu_refetch_cycles_per_byte="50")
    assert 9 * 42 * 42 <= 16384 < 9 * 43 * 43
    first = min(steps(found))
    assert first == (42, 43)
    assert steps(found)[first].cause == "memory"
    assert "of weights exceed the cache of 16.0 KiB" in steps(found)[first].reasons[0]


def test_depth_of_a_network_takes_its_first_ops() -> None:
    network = zoo.load("kws")
    networks = sizes("depth", network)
    assert list(networks) == list(range(1, len(network.ops) + 1))
    for count, part in networks.items():
        assert part.macs == sum(op.macs for op in network.ops[:count])
        assert part.model is None and len(part.outputs) == 1
    assert networks[len(network.ops)].outputs == network.outputs


def test_depth_shows_which_op_leaves_the_accelerator() -> None:
    found = swept("depth", "max78000", range(1, 13), zoo.load("kws"))
    reasons = {change.after: change.reasons for change in found.changes if change.kind != "flat"}
    assert reasons[2] == (
        "op 1 (depthwise_conv2d) falls back to the host: MAX78000 CNN accelerator has no depthwise_conv2d",
    )
    assert found.points[0].fallback_ops == 1  # the 10x4 window


def test_every_point_adds_up_and_has_an_interval() -> None:
    found = swept("depth", "gap9", range(1, 4))
    for point in found.points:
        assert sum(point.causes.seconds.values()) == pytest.approx(point.inference_s.mean)
        assert point.inference_s.low < point.inference_s.mean < point.inference_s.high
        assert point.inference_s.mean < point.total_s.mean


def test_defaults_cover_every_axis() -> None:
    for axis, values in AXES.items():
        assert list(sizes(axis, "cnn")) == list(values)
        assert all(math.isfinite(network.macs) for network in sizes(axis, "dscnn").values())


def test_wrong_axes_and_values_are_errors() -> None:
    network = zoo.load("kws")
    for wrong in (
        lambda: sizes("widht", "cnn"),
        lambda: sizes("width", "no-template"),
        lambda: sizes("width", network),
        lambda: sizes("depth", network, [0]),
        lambda: sizes("depth", network, [len(network.ops) + 1]),
        lambda: sizes("width", "cnn", [0]),
    ):
        with pytest.raises(ConfigError):
            wrong()


def test_a_part_of_a_network_keeps_what_others_read() -> None:
    """Cut between the branches of a residual block, both are outputs."""
    network = zoo.load("ic")
    parts = [first_ops(network, count) for count in range(1, len(network.ops))]
    assert max(len(part.outputs) for part in parts) == 2


def test_a_compiler_that_was_not_asked_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.plan.make.available", lambda: None)
    found = swept("width", "hx-we2", range(8, 25, 8))
    assert found.notes == ("Vela did not compile 3 of 3 sizes: operator support and cycles are approximate there",)
    assert swept("width", "gap9", range(8, 25, 8)).notes == ()
