"""Qoitech Otii Arc and Ace through their server's TCP interface and the vendor's client (``otii-tcp-client``).

The server records; at the end the channels are fetched: main current (mc) and voltage (mv), digital inputs (i1, i2),
and where asked for the lines that came over the UART (rx), which the server stamps in the time of the recording.
The voltage may be sampled more slowly; it is interpolated at the times of the current.
"""

from __future__ import annotations

import json
import math
import select
import socket
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from hil.errors import MeterError
from hil.meter.drivers.base import Driver, require_within
from hil.meter.drivers.raw import Bytes, Header, RawWriter, blocks
from hil.meter.drivers.vendor import import_vendor, vendor_errors
from hil.meter.errors import MeterLost, MeterProtocolError, MeterRefused, MeterTimeout, NotSupported, SettingError
from hil.meter.types import Float, Line, MeterCaps, MeterInfo, Trace, Trigger

DEFAULT_ADDRESS = "127.0.0.1:1905"
_INPUTS = ("i1", "i2")
_UART = "rx"
_CHUNK = 40_000
_ANSWER_S = 30.0  # for one chunk of a channel
_FIND_S = 5
_VOLT_MAX = 5.0


class Otii(Driver):
    """An Otii at a server.  ``device``: its name or id, where the server has several.  ``uart``: the baud rate of the
    board's serial port, whose TX is wired to the RX of the expansion port; its lines are in the trace then."""

    driver = "otii"
    caps = MeterCaps(4_000.0, 50_000.0, measures_voltage=True, supplies_dut=True, digital_inputs=2)

    def __init__(
        self,
        address: str = "",
        *,
        site: str = "",
        raw_folder: Path | None = None,
        device: str | None = None,
        uart: int | None = None,
    ) -> None:
        super().__init__(address or DEFAULT_ADDRESS, site=site, raw_folder=raw_folder)
        host, _, port = self.port.rpartition(":")
        if not host or not port.isdecimal():
            raise SettingError(f"otii:{address}: expected HOST:PORT", hint=f"the server's default is {DEFAULT_ADDRESS}")
        self._host, self._tcp_port = host, int(port)
        if uart is not None and uart < 1:
            raise SettingError(f"{self.port}: uart is {uart}, expected a baud rate", hint="?uart=115200")
        self._wanted = device
        self._baud = uart
        self._client: Any = None
        self._device: Any = None
        self._project: Any = None
        self._recording: RawWriter | None = None  # where what the server records now will go
        self._failed = False  # it did not answer when its recording was asked for

    def _connect(self, keep_power: bool) -> MeterInfo:
        otii_client = import_vendor("otii_tcp_client.otii_client", "otii")
        self._client, self._failed = otii_client.OtiiClient(), False
        with vendor_errors(f"{self.port}: connecting"):
            otii = self._client.connect(host=self._host, port=self._tcp_port, try_for_seconds=0)
            self._device = self._select(otii.get_devices(timeout=_FIND_S))
            self._project = otii.get_active_project() or otii.create_project()
            self._device.add_to_project()
            version = self._device.get_version()
        if self._device.type == "Arc":  # its rate is fixed
            self.caps = replace(self.caps, rate_max_hz=self.caps.rate_min_hz)
        firmware = str(version.get("fw_version", ""))
        return MeterInfo(f"Otii {self._device.type}", str(self._device.id), firmware, self.driver)

    def _select(self, devices: list[Any]) -> Any:
        there = ", ".join(f"{device.name} ({device.id})" for device in devices) or "none"
        matching = [device for device in devices if self._wanted in (None, device.name, device.id)]
        if len(matching) != 1:
            what = f"device '{self._wanted}'" if self._wanted else "which Otii?"
            raise SettingError(f"{self.port}: {what}: {len(matching)} of them", hint=f"there: {there}; ?device=NAME")
        return matching[0]

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        raw, self._recording = self._recording, None
        if raw is not None:  # given up: the server would record on and on, and what it has is worth keeping
            with suppress(MeterError):
                self._fetch_all(raw)
        if client is not None:
            # An error of closing would only say again that it does not answer.
            with suppress(MeterError) if self._failed else nullcontext(), vendor_errors(f"{self.port}: disconnecting"):
                try:
                    client.disconnect()
                finally:
                    if client.otii is not None:  # it stopped at a request, before it closed the connection
                        client.otii.connection.close_connection()

    def _set_rate(self, rate_hz: float, range_a: float | None) -> float:
        device = self._device
        with vendor_errors(f"{self.port}: setting channels"):
            if range_a is not None:
                device.set_range("high" if range_a > 19e-3 else "low")  # the Arc's low range ends at 19 mA
            for channel in ("mc", "mv", *_INPUTS):
                device.enable_channel(channel, True)
            if device.type != "Arc":  # the Arc's rates are fixed
                device.set_channel_samplerate("mc", round(rate_hz))
            actual_hz = float(device.get_channel_samplerate("mc"))
        if self._baud is not None:
            self._listen(self._baud)
        if actual_hz < rate_hz * (1 - 1e-6):
            raise NotSupported(f"{self.port}: {rate_hz:g} Hz asked for, {self.info.model} takes {actual_hz:g} Hz")
        return actual_hz

    def _listen(self, baud: int) -> None:
        """Listen to the board's UART, as the vendor's example does it.  Raises MeterRefused, NotSupported."""
        device = self._device
        try:
            with vendor_errors(f"{self.port}: listening to a UART at {baud} baud"):
                device.set_uart_baudrate(baud)
                device.enable_uart(True)
                device.enable_exp_port(True)
                device.enable_channel(_UART, True)
                actual = int(device.get_uart_baudrate())
        except MeterRefused as error:
            hint = f"?uart= takes the board's baud rate, 115200 mostly; {self.info.model} must have a UART input"
            raise MeterRefused(error.message, hint=hint) from error
        if actual != baud:
            raise NotSupported(f"{self.port}: {baud} baud asked for, {self.info.model} listens at {actual} baud")

    def _set_supply(self, voltage_v: float | None, limit_a: float | None) -> None:
        if voltage_v is not None:
            require_within(self.port, "voltage", voltage_v, 0.5, _VOLT_MAX, "V")
        with vendor_errors(f"{self.port}: supplying"):
            if voltage_v is not None:
                self._device.set_main_voltage(voltage_v)
                if limit_a is not None:
                    self._device.set_max_current(limit_a)
            self._device.set_main(voltage_v is not None)

    def _settings(self) -> Mapping[str, Any]:
        return {} if self._baud is None else {"uart": self._baud}

    def _begin(self, trigger: Trigger, raw: RawWriter) -> None:
        with vendor_errors(f"{self.port}: starting"):
            self._project.start_recording()
        self._recording = raw

    def _finish(self, raw: RawWriter) -> MeterError | None:
        self._recording = None
        return self._fetch_all(raw)

    def _trouble(self) -> MeterError | None:
        """The server says nothing while it records: of its connection only the end shows."""
        connection: socket.socket = self._project.connection.sock
        try:
            if not select.select([connection], [], [], 0)[0] or connection.recv(1, socket.MSG_PEEK):
                return None
            why = "the server closed the connection"
        except OSError as error:
            why = f"the connection to the server is gone: {error.strerror or error}"
        return MeterLost(f"{self.port}: {why}", hint="its recording is still on the server, if that runs")

    def _fetch_all(self, raw: RawWriter) -> MeterError | None:
        """End the recording and put all of it into ``raw``; the first error that a channel was answered with.

        Raises MeterError where the server does not answer: what it gave before that stays.
        """
        channels = ("mc", "mv", *_INPUTS, *((_UART,) if self._baud is not None else ()))
        problem: MeterError | None = None
        self._failed = True
        with vendor_errors(f"{self.port}: fetching the recording"):
            self._project.stop_recording()
            recording = self._project.get_last_recording()
            if recording is None:
                return MeterTimeout(f"{self.port}: the server has no recording")
            for channel in ("mc", "mv"):
                info = recording.get_channel_info(self._device.id, channel)
                raw.block({"channel": channel, "info": info})
            for channel in channels:
                try:
                    count = int(self._request(recording, "recording_get_channel_data_count", channel)["count"])
                    for index in range(0, count, _CHUNK):
                        self._fetch(recording, channel, index, min(_CHUNK, count - index), raw)
                except MeterProtocolError as error:  # of this channel; the others may be there
                    problem = problem or error
        self._failed = False
        return problem

    def _fetch(self, recording: Any, channel: str, index: int, count: int, raw: RawWriter) -> None:
        """Store one part of a channel."""
        content = self._request(recording, "recording_get_channel_data", channel, index=index, count=count)
        if channel in (*_INPUTS, _UART):
            raw.block({"channel": channel}, json.dumps(content["values"]).encode())
            return
        meta = {"channel": channel, "timestamp": content["timestamp"], "interval": content["interval"]}
        raw.block(meta, np.asarray(content["values"], "<f8").tobytes())

    def _request(self, recording: Any, command: str, channel: str, **more: int) -> Any:
        """What the server answers about a channel of a recording.  The client's own ``get_channel_data`` would wait for
        ever, and strips lines.  Raises MeterProtocolError for an answer that is an error."""
        data = {"device_id": self._device.id, "recording_id": recording.id, "channel": channel, **more}
        request = {"type": "request", "cmd": command, "data": cast(Any, data)}
        answer = recording.connection.send_and_receive(request, _ANSWER_S)
        if answer["type"] == "error":
            what = "lines of the UART (rx)" if channel == _UART else f"channel {channel}"
            text = answer.get("data", {}).get("message") or answer.get("errorcode") or answer
            raise MeterProtocolError(
                f"{self.port}: {what}: the server answered '{str(text)[:100]}'",
                hint="was the channel switched off in Otii's own window?",
            )
        return answer["data"]

    def _decode(self, header: Header, data: Bytes) -> Trace:
        return decode(header, data)


def decode(header: Header, data: Bytes) -> Trace:
    """The trace in the blocks of a recording.  Raises MeterError."""
    chunks: dict[str, list[Float]] = {"mc": [], "mv": []}
    first: dict[str, tuple[float, float]] = {}  # time and interval
    edges: dict[str, list[Any]] = {channel: [] for channel in _INPUTS}
    lines: list[Line] = []
    lengths_s: dict[str, float] = {}
    try:
        for meta, payload in blocks(data):
            channel = str(meta["channel"])
            if channel in edges:
                edges[channel] += [(float(e["timestamp"]), bool(e["value"])) for e in json.loads(payload)]
            elif channel == _UART:
                lines += [Line(float(e["timestamp"]), str(e["value"]).rstrip("\r\n")) for e in json.loads(payload)]
            elif "info" in meta:
                lengths_s[channel] = float(meta["info"]["to"]) - float(meta["info"]["from"])
            else:
                chunks[channel].append(np.frombuffer(payload, "<f8"))
                first.setdefault(channel, (float(meta["timestamp"]), float(meta["interval"])))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise MeterProtocolError(f"not a recording of an Otii: {error!r}"[:200]) from error
    if not first.keys() >= {"mc", "mv"} or any(interval <= 0 for _, interval in first.values()):
        raise MeterProtocolError("the recording has no main current or no main voltage", hint="was it triggered?")
    if not all(math.isfinite(line.t_s) for line in lines):
        raise MeterProtocolError("a line of the UART without a time")
    current, slow = (np.concatenate(chunks[channel]) for channel in ("mc", "mv"))
    (t0_s, dt_s), (slow_t0_s, slow_dt_s) = first["mc"], first["mv"]
    t_s = t0_s + dt_s * np.arange(current.size)
    voltage = slow if slow.size == current.size else np.interp(t_s, slow_t0_s + slow_dt_s * np.arange(slow.size), slow)
    digital = np.zeros(current.size, np.uint8)
    for bit, channel in enumerate(_INPUTS):
        times = np.array([time_s for time_s, _ in edges[channel]])
        levels = np.array([False, *(level for _, level in edges[channel])])
        digital |= levels[np.searchsorted(times, t_s + 1e-9, side="right")].astype(np.uint8) << bit
    missing = round(lengths_s.get("mc", 0.0) / dt_s) - current.size
    notes = []
    if missing > 1:  # one is the rounding of the length
        notes.append(f"the server has {missing} samples fewer than its recording is long")
    if not lines and "uart" in header.settings:
        notes.append(f"no line came over the UART at {header.settings['uart']} baud")
    return Trace(
        header.site,
        current,
        voltage,
        dt_s=dt_s,
        t0_s=t0_s,
        digital=digital,
        unplaced=missing if missing > 1 else 0,
        lines=tuple(sorted(lines, key=lambda line: line.t_s)),
        info=header.info,
        notes=tuple(notes),
    )
