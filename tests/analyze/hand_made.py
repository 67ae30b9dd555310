"""Runs whose figures are chosen by hand."""

from __future__ import annotations

from hil.backend.run import Energy, Interval, Memory, NetworkFigures, PhaseFigures, Provenance, Run


def exactly(value: float) -> Interval:
    return Interval(mean=value, low=value, high=value)


def made_run(
    platform: str,
    total_s: Interval,
    energy_j: Energy | None,
    phases: dict[str, float] | None = None,
    *,
    weight_bytes: int = 0,
    activation_bytes: int = 0,
) -> Run:
    """A run of ``net`` (a million MACs, all on an accelerator of 10^9 MAC/s); ``phases`` in seconds."""
    whole = PhaseFigures(latency_s=total_s, energy_j=energy_j, fidelity="measured")
    return Run(
        network="net",
        platform=platform,
        operating_point="point",
        backend="analytic",
        fidelity="measured",
        fits=True,
        phases={
            name: PhaseFigures(latency_s=exactly(seconds), fidelity="measured")
            for name, seconds in (phases or {}).items()
        },
        total=whole,
        steady=whole,
        memory_io=whole,
        memory=Memory(weight_bytes=weight_bytes, activation_bytes=activation_bytes),
        network_info=NetworkFigures(
            source="gone.tflite",
            hash="0" * 16,
            precision="int8",
            macs=1_000_000,
            parameters=1,
            weight_bytes=1,
            ops=1,
            provenance="parsed",
        ),
        npu_macs=1_000_000,
        peak_macs_per_s=1e9,
        provenance=Provenance(hil_version="0", created="2026-01-01T00:00:00", plan_hash="", platform_hash=""),
    )
