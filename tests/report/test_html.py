"""The HTML report.  The runs here are made up: plausible in shape, wrong on purpose in value."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hil.backend.run import (
    DutyFigures,
    Energy,
    Fidelity,
    Interval,
    Memory,
    MemoryFigures,
    NetworkFigures,
    OpFigures,
    PhaseFigures,
    Provenance,
    Run,
)
from hil.errors import HilError
from hil.platform import Platform
from hil.report.figures import interval_text, keyed_figure, percent
from hil.report.html import write_report
from hil.report.markup import json_for_script, tag
from hil.report.rows import arrange

NETWORKS = ("nas", "nas_max", "resnet", "simplenet", "autoenc", "yolo", "kws", "ic", "ad", "vww", "digits")
PLATFORMS: dict[str, tuple[Fidelity, str]] = {
    "fast-npu": ("measured", "rail CORE, above idle"),
    "small-npu": ("calibrated", "rail CORE, above idle"),
    "tiny-npu": ("emulated", "whole board, gross"),
    "other-npu": ("estimated", "whole board, gross"),
    "odd-npu": ("estimated", "chip supply, gross"),
    "plain-mcu": ("calibrated", "whole board, gross"),
}
EVIL = "</script><img src=x onerror=alert(1)>'\"&<!--<svg/onload=alert(2)>\u2028"
RESOURCE_ATTRIBUTES = ("src", "srcset", "href", "action", "data", "poster", "background", "xlink:href")


def interval(mean: float, spread: float = 1.3) -> Interval:
    return Interval(mean=mean, low=mean / spread, high=mean * spread)


def figures(seconds: float, scope: str, fidelity: Fidelity) -> PhaseFigures:
    joules = seconds * 0.02
    return PhaseFigures(
        latency_s=interval(seconds),
        energy_j=Energy(mean=joules, low=joules / 1.5, high=joules * 1.5, scope=scope),
        power_w=0.02,
        fidelity=fidelity,
    )


def fake_run(network: str, platform: str, index: int, column: int, **changes: Any) -> Run:
    """One made-up run.  Every third platform sheds an op to the CPU; the third cannot hold the largest networks."""
    fidelity, scope = PLATFORMS.get(platform, ("estimated", "chip supply, gross"))
    macs = 200_000 * 2**column
    base = macs / 1e9 / (index + 1)
    times = {"npu_init": 2e-3, "weight_load": base, "input_load": 1e-4, "inference": 4 * base}
    times |= {"output_read": 1e-5, "post_process": 3e-5}
    phases = {name: figures(seconds, scope, fidelity) for name, seconds in times.items()}
    fits = not (index == 2 and column > 8)
    cpu = OpFigures(index=1, name="soft", type="softmax", unit="cpu", reason="not supported", macs=0, latency_s=1e-5)
    npu = OpFigures(index=0, name="conv", type="conv2d", unit="npu", macs=macs, latency_s=3.9 * base)
    values: dict[str, Any] = {
        "network": network,
        "platform": platform,
        "operating_point": "default",
        "backend": "analytic",
        "fidelity": fidelity,
        "fits": fits,
        "reasons": () if fits else ("100 KiB for weights in flash, needs 300 KiB",),
        "notes": ("made up for a test",),
        "fallback_ops": (cpu,) if index % 3 == 0 else (),
        "phases": phases,
        "total": figures(sum(times.values()), scope, fidelity),
        "steady": figures(5 * base, scope, fidelity),
        "memory_io": figures(base + 1.1e-4, scope, fidelity),
        "idle_power_w": interval(1e-3),
        "memory": memory(fits, column),
        "network_info": NetworkFigures(
            source=f"{network}.tflite",
            hash=f"hash-{network}",
            precision="int8",
            macs=macs,
            parameters=macs // 10,
            weight_bytes=macs // 10,
            ops=2,
            provenance="made up",
        ),
        "ops": (npu, cpu),
        "npu_macs": macs if platform != "plain-mcu" else 0,
        "peak_macs_per_s": 1e9 * (index + 1) if platform != "plain-mcu" else None,
        "provenance": Provenance(
            hil_version="0", created="2026-01-02T03:04:05+00:00", plan_hash="0123456789abcdef", platform_hash="fedcba98"
        ),
    }
    return Run(**{**values, **changes})


def memory(fits: bool, column: int) -> Memory:
    need = 3000 * (column + 1) if fits else 300 * 1024
    weights = MemoryFigures(name="flash", role="weights", needed_bytes=need, capacity_bytes=100 * 1024, fits=fits)
    data = MemoryFigures(name="sram", role="activations", needed_bytes=need // 2, capacity_bytes=None, fits=True)
    return Memory(weight_bytes=need, activation_bytes=need // 2, uses=(weights, data))


def fake_runs() -> list[Run]:
    return [
        fake_run(network, platform, index, column)
        for index, platform in enumerate(PLATFORMS)
        for column, network in enumerate(NETWORKS)
    ]


def fake_platform(name: str, **changes: Any) -> Platform:
    def sure(value: float) -> dict[str, Any]:
        return {"value": value, "source": "sheet", "certainty": "datasheet"}

    document = {
        "schema": 1,
        "id": name,
        "name": f"Name of {name}",
        "vendor": "Made Up Inc.",
        "summary": "It does not exist",
        "default_operating_point": "default",
        "sources": {"sheet": {"title": "A data sheet", "reference": "DS-1"}},
        "cores": {"host": {"isa": "cortex-m4"}},
        "memories": {"flash": {"kind": "flash", "size_bytes": sure(102400)}},
        "operating_points": {
            "default": {"summary": "As it comes", "host": "host", "clocks_hz": {"host": sure(100e6)}},
            "unused": {"summary": "Not run", "host": "host", "clocks_hz": {"host": sure(77e6)}},
        },
        "power": {"scope": "chip", "baseline": "gross"},
        **changes,
    }
    return Platform.model_validate(document)


def write(tmp_path: Path, runs: Sequence[Run], **options: Any) -> str:
    """The report's text; no platform is missing unless it is evil."""
    file = tmp_path / "report.html"
    platforms = {name: fake_platform(name) for name in {run.platform for run in runs} if re.fullmatch(r"[a-z-]+", name)}
    write_report(runs, options.pop("platforms", platforms), file, **options)
    return file.read_text(encoding="utf-8")


class Page(HTMLParser):
    """A strict reading: every element is closed in order, and what the page would load is collected."""

    VOID = frozenset({"meta", "br", "link", "img", "input", "hr", "col"})

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.scripts: dict[str, str] = {}
        self.feed(source)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            kind = self.elements[-1][1].get("id", "code")
            self.scripts[kind] = self.scripts.get(kind, "") + data
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def data(self) -> dict[str, Any]:
        document = json.loads(self.scripts["data"])
        assert isinstance(document, dict)
        return document

    def loads(self) -> Iterator[str]:
        for _, attributes in self.elements:
            for name in RESOURCE_ATTRIBUTES:
                if name in attributes and not attributes[name].startswith("#"):
                    yield attributes[name]


def test_page_is_well_formed_and_complete(tmp_path: Path) -> None:
    page = Page(write(tmp_path, fake_runs()))
    for name in (*NETWORKS, *PLATFORMS, *(f"Name of {name}" for name in PLATFORMS)):
        assert name in page.text
    assert "11 networks · 6 platforms · 66 runs · 2 that do not fit" in page.text
    for fidelity in ("measured", "emulated", "calibrated", "estimated"):
        assert any(fidelity in attributes.get("class", "") for _, attributes in page.elements)


def test_page_loads_nothing(tmp_path: Path) -> None:
    source = write(tmp_path, fake_runs())
    page = Page(source)
    assert list(page.loads()) == []
    assert not any(element in ("link", "img", "iframe", "object", "embed") for element, _ in page.elements)
    assert "@import" not in source
    assert "url(" not in source
    assert re.findall(r"\b(?:fetch|XMLHttpRequest|WebSocket|eval|innerHTML)\b", source) == []
    policy = next(a["content"] for e, a in page.elements if e == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")


def test_figures_equal_the_records(tmp_path: Path) -> None:
    runs = fake_runs()
    data = Page(write(tmp_path, runs)).data()
    assert len(data["runs"]) == len(runs)
    for run in runs:
        drawn = next(
            entry
            for entry in data["runs"]
            if data["networks"][entry["n"]]["name"] == run.network and data["rows"][entry["r"]]["label"] == run.platform
        )
        total = run.total.latency_s
        assert run.total.energy_j is not None
        assert drawn["total"] == pytest.approx([total.mean, total.low, total.high], rel=1e-6)
        assert drawn["energy"]["j"][0] == pytest.approx(run.total.energy_j.mean, rel=1e-6)
        assert data["scopes"][drawn["energy"]["scope"]] == run.total.energy_j.scope
        assert drawn["memory_io"][0] == pytest.approx(run.memory_io.latency_s.mean, rel=1e-6)
        assert drawn["fidelity"] == run.fidelity


def test_tables_show_figures_with_units_and_intervals(tmp_path: Path) -> None:
    run = fake_run("nas", "fast-npu", 0, 0)
    text = Page(write(tmp_path, [run])).text
    assert "3.14 ms" in text
    assert "2.42–4.08 ms" in text
    assert "62.8 µJ" in text
    assert "rail CORE, above idle" in text
    assert "softmax" in text and "not supported" in text


def test_what_does_not_fit_says_so(tmp_path: Path) -> None:
    source = write(tmp_path, [fake_run("vww", "tiny-npu", 2, 9)])
    page = Page(source)
    assert "does not fit" in page.text
    assert "100 KiB for weights in flash, needs 300 KiB" in page.text
    assert page.data()["runs"][0]["fits"] is False


def test_names_cannot_inject(tmp_path: Path) -> None:
    info = fake_run("nas", "fast-npu", 0, 0).network_info.model_copy(update={"source": EVIL, "hash": EVIL})
    run = fake_run(
        EVIL, EVIL, 1, 1, network_info=info, operating_point=EVIL, reasons=(EVIL,), fits=False, notes=(EVIL,)
    )
    source = write(tmp_path, [run, fake_run("nas", "fast-npu", 0, 0)], title=EVIL)
    page = Page(source)
    assert page.data()["networks"][0]["name"] == EVIL
    assert not any(element in ("img", "svg") for element, _ in page.elements)
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert sum(element == "script" for element, _ in page.elements) == 2


def test_platform_file_figures_carry_certainty_and_source(tmp_path: Path) -> None:
    text = Page(write(tmp_path, [fake_run("nas", "fast-npu", 0, 0)])).text
    assert "operating_points.default.clocks_hz.host" in text
    assert "100 MHz" in text
    assert "datasheet" in text
    assert "A data sheet" in text
    assert "operating_points.unused" not in text


def test_platform_that_is_not_at_hand(tmp_path: Path) -> None:
    text = Page(write(tmp_path, fake_runs(), platforms={})).text
    assert "The platform file was not at hand" in text


def test_duty_table(tmp_path: Path) -> None:
    duty = DutyFigures(
        state="deep-sleep",
        average_power_w=interval(1e-4),
        energy_per_period_j=1e-3,
        active_s=0.01,
        reloads_weights=True,
        battery_life_s=86400.0 * 1000,
        best=True,
    )
    text = Page(write(tmp_path, [fake_run("nas", "fast-npu", 0, 0, duty=(duty,), period_s=10.0)])).text
    assert "One inference every 10.0 s" in text
    assert "deep-sleep" in text
    assert "again each time" in text
    assert "2.74 years" in text


def test_no_energy_and_unknown_figures(tmp_path: Path) -> None:
    bare = PhaseFigures(latency_s=Interval(mean=1e-3, low=1e-3, high=math.inf), fidelity="measured")
    run = fake_run("nas", "fast-npu", 0, 0, total=bare, steady=bare, phases={"inference": bare}, memory_io=bare)
    page = Page(write(tmp_path, [run]))
    assert "No energy figures." in page.text
    assert page.data()["runs"][0]["energy"] is None
    assert page.data()["runs"][0]["total"] == [1e-3, 1e-3, None]


def test_repeated_runs_and_operating_points_all_show() -> None:
    once, twice = fake_run("nas", "fast-npu", 0, 0), fake_run("nas", "fast-npu", 0, 0)
    slow = fake_run("nas", "fast-npu", 0, 0, operating_point="slow")
    arrangement = arrange([once, twice, slow])
    assert [row.label for row in arrangement.rows] == [
        "fast-npu · default",
        "fast-npu · default · #2",
        "fast-npu · slow",
    ]
    assert arrangement.platforms == ("fast-npu",)


def test_networks_that_share_a_name_stay_apart() -> None:
    first = fake_run("nas", "fast-npu", 0, 0)
    other = first.model_copy(update={"network_info": first.network_info.model_copy(update={"hash": "feedbeef12"})})
    assert arrange([first, other]).networks == ("nas (hash-nas)", "nas (feedbeef)")


def test_no_runs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HilError, match=r"^no runs to report$"):
        write_report([], {}, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")

    def broken(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(HilError, match="No space left"):
        write_report(fake_runs(), {}, file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_large_report_is_small_and_quick(tmp_path: Path) -> None:
    runs = [
        fake_run(network, f"p{index}", index, column) for index in range(19) for column, network in enumerate(NETWORKS)
    ]
    platforms = {f"p{index}": fake_platform(f"p{index}") for index in range(19)}
    file = tmp_path / "report.html"
    start = time.monotonic()
    write_report(runs, platforms, file)
    assert time.monotonic() - start < 5
    assert file.stat().st_size < 2_000_000


def test_markup_escapes_unless_told() -> None:
    assert tag("p", "a<b", tag("b", "c&d"), title='"') == '<p title="&quot;">a&lt;b<b>c&amp;d</b></p>'
    assert "<" not in json_for_script({"a": "</script>"})
    with pytest.raises(ValueError, match="not an element name"):
        tag("p onclick=x", "")


@pytest.mark.parametrize(
    ("figure", "shown"),
    [
        (Interval(mean=2.59e-3, low=2.31e-3, high=2.9e-3), "2.59 ms (2.31–2.90 ms)"),
        (Interval(mean=9.0e-4, low=5.0e-4, high=1.2e-3), "900 µs (0.500–1.20 ms)"),
        (Interval(mean=1.0, low=0.0, high=2.0), "1.00 s (0 s – 2.00 s)"),
        (Interval(mean=1.0, low=1.0, high=1.0), "1.00 s"),
    ],
)
def test_interval_text(figure: Interval, shown: str) -> None:
    assert interval_text(figure, "s") == shown


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("npu.clock_max_hz", 50e6, "50.0 MHz"),
        ("operating_points.fast.clocks_hz.npu", 50e6, "50.0 MHz"),
        ("size_bytes", 442368.0, "432 KiB (442,368 B)"),
        ("energy_per_mac_j", 5e-12, "5.00 pJ/MAC"),
        ("weight_load_host_cycles_per_byte", 3.9, "3.9 cycles/B"),
        ("peak_macs_per_cycle", 576.0, "576 MAC/cycle"),
        ("cycle_scale", 1.0, "1"),
    ],
)
def test_figures_of_the_platform_file_carry_their_unit(key: str, value: float, shown: str) -> None:
    assert keyed_figure(key, value) == shown


def test_percent_claims_neither_nothing_nor_everything() -> None:
    assert [percent(share) for share in (None, 0.0, 0.004, 0.5, 0.996, 1.0)] == [
        "–",
        "0 %",
        "0.4 %",
        "50 %",
        "99.6 %",
        "100 %",
    ]


# What a user does: every metric, every network, every mode of every plot, the pointer over every mark.
EXERCISE = """
window.addEventListener("error", (e) => { document.documentElement.dataset.failed = e.message; });
const poke = () => document.querySelectorAll("#matrix td, #matrix th, svg *").forEach((node) => {
  for (const kind of ["pointerenter", "pointermove", "pointerleave"])
    node.dispatchEvent(new PointerEvent(kind, { clientX: 10, clientY: 10 }));
});
for (const button of [...document.querySelectorAll(".choice button")].reverse()) { button.click(); poke(); }
const select = document.getElementById("network");
for (const option of select.options) { select.value = option.value; select.dispatchEvent(new Event("change")); }
document.querySelector("#matrix thead button").click();
document.querySelector("svg .series")?.dispatchEvent(new MouseEvent("click"));
poke();
document.documentElement.dataset.exercised = "yes";
"""


def browse(file: Path, profile: Path) -> tuple[str, list[str]]:
    """The page's elements after its script ran, and what the console said."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here to render the page with")
    quiet = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync")
    offline = "--host-resolver-rules=MAP * ~NOTFOUND"
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", *quiet, offline, "--disable-component-update",
         f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--window-size=1000,900",
         "--dump-dom", file.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"chromium does not start here: {done.stderr[-200:]}")
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("case", ["all", "one", "unfit", "evil"])
def test_browser_draws_the_plots(tmp_path: Path, case: str) -> None:
    runs = {
        "all": fake_runs(),
        "one": [fake_run("nas", "fast-npu", 0, 0)],
        "unfit": [fake_run("vww", "tiny-npu", 2, 9)],
        "evil": [fake_run(EVIL, EVIL, 1, 1), fake_run("nas", "fast-npu", 0, 0)],
    }[case]
    write(tmp_path, runs)
    dom, console = browse(tmp_path / "report.html", tmp_path / "profile")
    assert console == []
    assert 'data-drawn="yes"' in dom
    bars = {"all": 6, "one": 1, "unfit": 1, "evil": 1}[case]
    assert dom.count('aria-label="Latency by phase, one bar per platform"') == 1
    assert len(re.findall(r'<g class="bar[^"]*"', dom.split('id="phases"')[1].split("</figure>")[0])) == bars
    if case == "all":
        assert dom.count('class="point"') == 5
        assert dom.count('class="series"') == 6
    assert "onerror=" not in re.sub(r"&lt;.*?&gt;", "", re.sub(r"<script.*?</script>|\"[^\"]*\"", "", dom, flags=re.S))


def test_browser_survives_every_click(tmp_path: Path) -> None:
    source = write(tmp_path, fake_runs())
    source = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    file = tmp_path / "exercised.html"
    file.write_text(source.replace("</body>", f"<script>{EXERCISE}</script></body>"), encoding="utf-8")
    dom, console = browse(file, tmp_path / "profile")
    assert console == []
    assert "data-failed" not in dom.split("<head>")[0]
    assert 'data-exercised="yes"' in dom
