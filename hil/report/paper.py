"""What the paper says that can be tested, beside what hil predicts: agree or not.

The statements are those of arXiv 2503.22567's abstract; its tables were not at hand.  Its HX-WE2 firmware counts with a
100 MHz clock (uNPU-Bench, cvapp.cpp), so that operating point is compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil import zoo
from hil.backend import Run, RunOptions
from hil.backend.analytic import AnalyticBackend
from hil.bench import Bench
from hil.cost import Z_90
from hil.errors import HilError
from hil.platform import load_platform, make_target

# The paper's five networks; on the MAX78000 CIFAR10-NAS is its own variant.
NETWORKS = ("cifar10_nas", "resnet", "simplenet", "autoencoder", "yolov1_96")
MAX_NETWORKS = ("cifar10_nas_max", *NETWORKS[1:])


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the paper and what the runs say.  ``agrees`` is None where the interval leaves it open."""

    text: str
    predicted: str
    agrees: bool | None
    fidelity: str

    @property
    def verdict(self) -> str:
        return {True: "agrees", False: "disagrees", None: "open"}[self.agrees]


def paper_statements(cache: Path | None, options: RunOptions | None = None) -> list[Statement]:
    """Predict what the statements are about.  Statements whose platform is missing are left out."""
    chosen = options or RunOptions()
    try:
        maxim = _runs("max78000", "arm-100mhz", MAX_NETWORKS, cache, chosen)
        himax = _runs("hx-we2", "unpu-bench-100mhz", NETWORKS, cache, chosen)
    except HilError:
        return []
    return [_under_30_ms(maxim), _speed(maxim, himax), _power(maxim, himax), _overhead(maxim, himax)]


def _runs(platform: str, point: str, names: Sequence[str], cache: Path | None, options: RunOptions) -> list[Run]:
    target = make_target(load_platform(platform), point)
    return list(Bench([zoo.load(name) for name in names], [target], AnalyticBackend(), options, cache).run().runs)


def _fidelity(*runs: Run) -> str:
    return "calibrated" if all(run.fidelity == "calibrated" for run in runs) else "estimated"


def _under_30_ms(runs: Sequence[Run]) -> Statement:
    worst = max(runs, key=lambda run: run.total.latency_s.mean)
    span = worst.total.latency_s
    agrees = True if span.high < 30e-3 else False if span.low > 30e-3 else None
    return Statement(
        "MAX78000 with its Cortex-M4 active stays under 30 ms end to end on all five networks, initialisation included",
        f"slowest is {worst.network}: {span.mean * 1e3:.1f} ms ({span.low * 1e3:.1f} to {span.high * 1e3:.1f})",
        agrees,
        _fidelity(*runs),
    )


def _speed(slow: Sequence[Run], fast: Sequence[Run]) -> Statement:
    ratios = [a.total.latency_s.mean / b.total.latency_s.mean for a, b in zip(slow, fast, strict=True)]
    wide = [
        math.hypot(
            _sigma(a.total.latency_s.low, a.total.latency_s.high), _sigma(b.total.latency_s.low, b.total.latency_s.high)
        )
        for a, b in zip(slow, fast, strict=True)
    ]
    return _ratio(
        "HX-WE2 is about 1.93 times faster than MAX78000 on average", 1.93, ratios, wide, _fidelity(*slow, *fast)
    )


def _power(low: Sequence[Run], high: Sequence[Run]) -> Statement:
    pairs = [(a.total.power_w, b.total.power_w) for a, b in zip(low, high, strict=True)]
    ratios = [b / a for a, b in pairs if a and b]
    wide = [
        math.hypot(
            _sigma(a.total.energy_j.low, a.total.energy_j.high), _sigma(b.total.energy_j.low, b.total.energy_j.high)
        )
        for a, b in zip(low, high, strict=True)
        if a.total.energy_j and b.total.energy_j
    ]
    scopes = {run.total.energy_j.scope for run in (low[0], high[0]) if run.total.energy_j is not None}
    text = "HX-WE2 draws about 3.13 times the power of MAX78000"
    found = _ratio(text, 3.13, ratios, wide, "estimated")
    if len(scopes) > 1:
        # Figures of different scope are shown, never judged.
        return Statement(
            text, f"{found.predicted}, but of different scope: {'; '.join(sorted(scopes))}", None, "estimated"
        )
    return found


def _ratio(text: str, stated: float, ratios: Sequence[float], wide: Sequence[float], fidelity: str) -> Statement:
    mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
    # The networks share the platforms' parameters, so their errors move together: the mean is no surer than one.
    spread = math.exp(Z_90 * sum(wide) / len(wide))
    inside = mean / spread <= stated <= mean * spread
    near = abs(math.log(mean / stated)) <= math.log(1.25)
    agrees = True if near else None if inside else False
    return Statement(text, f"{mean:.2f} times ({mean / spread:.2f} to {mean * spread:.2f})", agrees, fidelity)


def _sigma(low: float, high: float) -> float:
    return math.log(high / low) / (2 * Z_90) if low > 0 else 0.0


def _overhead(*platforms: Sequence[Run]) -> Statement:
    words, dominated = [], 0
    for runs in platforms:
        shares = [
            (run.phases["npu_init"].latency_s.mean + run.memory_io.latency_s.mean) / run.total.latency_s.mean
            for run in runs
        ]
        most = sum(share > 0.5 for share in shares)
        dominated += most > len(runs) / 2
        span = f"{min(shares):.0%} to {max(shares):.0%}"
        words.append(f"{runs[0].platform}: more than half on {most} of {len(runs)} networks ({span})")
    return Statement(
        "initialisation and memory I/O dominate end to end on several parts",
        "; ".join(words),
        dominated > 0,
        _fidelity(*(run for runs in platforms for run in runs)),
    )
