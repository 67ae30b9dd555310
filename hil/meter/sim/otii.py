"""A simulated Otii server: JSON lines over TCP, as the vendor's client speaks them, with one Arc or Ace."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Self

import numpy as np

from hil.meter.sim.instrument import Source
from hil.meter.types import Float

_RATES_HZ = {"Arc": {"mc": 4000, "mv": 1000}, "Ace": {"mc": 50_000, "mv": 1000}}
_STOP_S = 5.0
_BITS, _LINE_END = 10, 2  # of a character; characters at the end of a line


class NoChannelError(Exception):
    """A channel that was not recorded."""


class Simulator:
    """A server at ``address`` with a device that measures ``source``: a context manager.

    ``samples``: how many its recordings have; by default as many as its time makes.  ``drop``: how many of the last
    ones it loses.  ``fail``: commands that it answers with an error.  ``supply_changes`` lists what was done to the
    board's supply.  ``mute``: commands that it never answers.
    ``lines``: what the board prints, and when it wants to, from the start of the recording on; its UART sends one after
    the other at ``baud``.  The server stamps each at the share ``stamp_at`` of its duration (0: first start bit,
    1: last stop bit), in steps of ``stamp_step_s``.  More may be appended to ``lines`` any time before the end.
    """

    def __init__(
        self,
        source: Source,
        *,
        kind: str = "Arc",
        samples: int | None = None,
        drop: int = 0,
        fail: frozenset[str] = frozenset(),
        mute: frozenset[str] = frozenset(),
        licenses: int = 1,
        lines: Sequence[tuple[float, str]] = (),
        baud: int = 115_200,
        stamp_at: float = 1.0,
        stamp_step_s: float = 1e-6,
    ) -> None:
        self.source, self.kind = source, kind
        self.supply_changes: list[tuple[str, Any]] = []
        self._samples, self._drop, self._fail, self._mute = samples, drop, fail, mute
        self._licenses = [
            {"id": number, "type": "Automation", "reserved_to": "", "available": True} for number in range(licenses)
        ]
        self._rates = dict(_RATES_HZ[kind])
        self.lines = list(lines)
        self.recording = False
        self._baud, self._stamp_at, self._stamp_step_s = baud, stamp_at, stamp_step_s
        self._heard_baud, self._listens, self._channels = 9600, False, set[str]()
        self._started_s = self._length_s = 0.0

    def __enter__(self) -> Self:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.05)
        self.address = f"127.0.0.1:{self._server.getsockname()[1]}"
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"sim otii {self.address}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join(_STOP_S)
        self._server.close()

    def _serve(self) -> None:
        while not self._closing.is_set():
            with suppress(TimeoutError):
                connection, _ = self._server.accept()
                with connection, suppress(OSError):
                    self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)
        self._say(connection, {"type": "information", "info": "connected", "data": {"server": "simulated"}})
        buffer = b""
        while not self._closing.is_set():
            with suppress(TimeoutError):
                data = connection.recv(65_536)
                if not data:
                    return
                *lines, buffer = (buffer + data).split(b"\r\n")
                for line in lines:
                    self._handle(connection, json.loads(line))

    def _handle(self, connection: socket.socket, request: dict[str, Any]) -> None:
        command = request["cmd"]
        answer: dict[str, Any] = {"type": "response", "cmd": command, "trans_id": request["trans_id"]}
        if command in self._mute:
            return
        if command in self._fail:
            answer |= {"type": "error", "errorcode": "Command failure", "data": {"message": "it is simulated"}}
        else:
            try:
                answer["data"] = self._answer(command, request.get("data", {}))
            except NoChannelError as error:
                answer |= {"type": "error", "errorcode": "Command failure", "data": {"message": str(error)}}
        self._say(connection, answer)

    def _say(self, connection: socket.socket, message: dict[str, Any]) -> None:
        connection.settimeout(None)
        connection.sendall(json.dumps(message).encode() + b"\r\n")
        connection.settimeout(0.05)

    def _answer(self, command: str, data: dict[str, Any]) -> Any:
        if command in ("arc_set_main_voltage", "arc_set_max_current"):
            self.supply_changes.append((command, data["value"]))
        elif command == "arc_set_main":
            self.supply_changes.append((command, data["enable"]))
        elif command == "arc_set_channel_samplerate":
            self._rates[data["channel"]] = data["value"]
        elif command == "arc_enable_channel":
            (self._channels.add if data["enable"] else self._channels.discard)(data["channel"])
        elif command == "arc_set_uart_baudrate":
            self._heard_baud = data["value"]
        elif command == "arc_enable_uart":
            self._listens = data["enable"]
        elif command == "project_start_recording":
            self._started_s, self.recording = time.monotonic(), True
        elif command == "project_stop_recording":
            self._length_s, self.recording = time.monotonic() - self._started_s, False
            if self._samples is not None:
                self._length_s = self._samples / self._rates["mc"]
        elif command == "recording_get_channel_data_count":
            return {"count": self._count(data["channel"])}
        elif command == "recording_get_channel_data":
            return self._channel(data["channel"], data["index"], data["count"])
        fixed: dict[str, Any] = {
            "otii_is_logged_in": {"logged_in": True},
            "otii_get_licenses": {"licenses": self._licenses},
            "otii_get_devices": {"devices": [{"device_id": "Arc1", "name": "desk", "type": self.kind}]},
            "otii_get_active_project": {"project_id": 1},
            "arc_get_version": {"hw_version": "1", "fw_version": "1.2.3"},
            "arc_get_uart_baudrate": {"value": self._heard_baud},
            "arc_get_channel_samplerate": {"value": self._rates.get(data.get("channel", ""), 0)},
            "project_get_last_recording": {"recording_id": 7, "name": "one"},
            "recording_get_channel_info": {"offset": 0, "from": 0.0, "to": self._length_s, "sample_rate": 0},
        }
        return fixed.get(command, {})

    def _times(self, channel: str) -> Float:
        rate_hz = self._rates[channel]
        return np.arange(round(self._length_s * rate_hz) - (self._drop if channel == "mc" else 0)) / rate_hz

    def _edges(self, channel: str) -> list[dict[str, Any]]:
        t_s = self._times("mc")
        bits = (self.source.digital(t_s) >> (int(channel[1]) - 1)) & 1
        changed = np.flatnonzero(np.diff(bits, prepend=0))
        return [{"timestamp": float(t_s[k]), "value": bool(bits[k])} for k in changed]

    def _count(self, channel: str) -> int:
        if channel in self._rates:
            return self._times(channel).size
        if channel == "rx":
            return len(self._heard())
        return len(self._edges(channel)) if channel in ("i1", "i2") else 0

    def _heard(self) -> list[dict[str, Any]]:
        """The lines as the server logs them: garbage where it listens at another rate than the board sends."""
        if not (self._listens and "rx" in self._channels):
            raise NoChannelError("no such channel in the recording")
        heard, free_s = [], 0.0
        for wanted_s, text in self.lines:
            start_s = max(wanted_s, free_s)
            free_s = start_s + (len(text) + _LINE_END) * _BITS / self._baud
            at_s = start_s + self._stamp_at * (free_s - start_s)
            stamp_s = round(at_s / self._stamp_step_s) * self._stamp_step_s
            if self._heard_baud != self._baud:
                text = "".join(chr(0x80 + ord(character) % 0x70) for character in text)
            if start_s >= 0 and free_s <= self._length_s:
                heard.append({"timestamp": stamp_s, "value": text + "\r\n"})
        return heard

    def _channel(self, channel: str, index: int, count: int) -> dict[str, Any]:
        if channel in ("i1", "i2"):
            return {"data_type": "digital", "values": self._edges(channel)[index : index + count]}
        if channel == "rx":
            return {"data_type": "log", "values": self._heard()[index : index + count]}
        t_s = self._times(channel)[index : index + count]
        values = self.source.current_a(t_s) if channel == "mc" else self.source.voltage_v(t_s)
        interval = 1 / self._rates[channel]
        start = {"timestamp": index * interval, "interval": interval}
        return {"data_type": "analog", **start, "values": values.tolist()}
