"""Instruments that send bytes over a serial port: opening, asking with deadlines, recording."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from hil.board.clock import Deadline, MonotonicClock
from hil.board.link import Link, open_link
from hil.errors import LinkError, MeterError
from hil.meter.drivers.base import SILENT_SAMPLES, Driver
from hil.meter.drivers.raw import RawWriter
from hil.meter.errors import MeterLost, MeterProtocolError, MeterTimeout, StorageError
from hil.meter.types import MeterInfo, Trigger

_READ_BYTES = 65_536
_READ_S = 0.05
_ANSWER_S = 3.0
_QUIET_S = 0.1
_DRAIN_S = 5.0
_SILENT_S = 2.0
_LINE_MAX = 1000


class SerialMeter(Driver):
    """An instrument on a serial port; a subclass adds what it says."""

    baud: ClassVar[int] = 115_200

    def __init__(self, port: str, *, site: str = "", raw_folder: Path | None = None) -> None:
        super().__init__(port, site=site, raw_folder=raw_folder)
        self._clock = MonotonicClock()
        self._link: Link | None = None
        self._link_lost = False
        self._pending = b""
        self._recorder: _Recorder | None = None

    # What a subclass says.

    @abstractmethod
    def _greet(self, keep_power: bool) -> MeterInfo: ...

    @abstractmethod
    def _command_start(self, trigger: Trigger) -> None: ...

    @abstractmethod
    def _command_stop(self) -> None: ...

    def _command_leave(self) -> None:  # noqa: B027
        """Just before an idle port is closed."""

    # The driver's life.

    def _connect(self, keep_power: bool) -> MeterInfo:
        with self._as_meter_errors():
            self._link = open_link(self.port, self.baud)
        self._link_lost = False
        return self._greet(keep_power)

    def _disconnect(self) -> None:
        recorder, self._recorder = self._recorder, None
        known = self._link_lost or (recorder is not None and isinstance(recorder.error, LinkError))
        try:
            self._say_goodbye(recorder)
        except MeterLost:
            if not known:  # otherwise it was told, with what it meant
                raise
        finally:
            if self._link is not None:
                self._link.close()
            self._link, self._pending = None, b""

    def _say_goodbye(self, recorder: _Recorder | None) -> None:
        if recorder is None:
            if self._link is not None:
                self._command_leave()
            return
        try:
            self._command_stop()
        finally:
            recorder.finish()

    def _begin(self, trigger: Trigger, raw: RawWriter) -> None:
        self._command_start(trigger)
        raw.write(self._take_pending())
        self._recorder = _Recorder(self._connected, raw)

    def _finish(self, raw: RawWriter) -> MeterError | None:
        recorder, self._recorder = self._recorder, None
        assert recorder is not None
        silent_s = self._silent_s = recorder.silent_s
        lost: MeterLost | None = None
        try:
            self._command_stop()
        except MeterLost as error:
            lost = error
        finally:
            ended = recorder.finish()
        if (failed := recorder.error or lost) is not None:
            return _broken(raw, failed)
        if raw.size == 0 or silent_s > self._patience_s:
            return self._silence(raw, silent_s)
        if not ended:
            return MeterTimeout(f"{self.port}: still sending {_DRAIN_S:g} s after it was stopped", hint=_replay(raw))
        return None

    def _trouble(self) -> MeterError | None:
        recorder = self._recorder
        if recorder is None:
            return None
        silent_s = recorder.silent_s
        if recorder.error is not None:
            return _broken(recorder.raw, recorder.error)
        return self._silence(recorder.raw, silent_s) if silent_s > self._patience_s else None

    @property
    def _patience_s(self) -> float:
        return max(_SILENT_S, SILENT_SAMPLES / (self._rate_hz or 1.0))

    def _silence(self, raw: RawWriter, silent_s: float) -> MeterTimeout:
        if raw.size == 0:
            return MeterTimeout(f"{self.port}: not one sample in {silent_s:.3g} s", hint="was it triggered?")
        return MeterTimeout(f"{self.port}: no sample for the last {silent_s:.3g} s", hint=_replay(raw))

    # What a subclass uses.

    @property
    def _connected(self) -> Link:
        assert self._link is not None
        return self._link

    def _send(self, data: bytes) -> None:
        with self._as_meter_errors():
            self._connected.write(data)

    def _drain(self) -> bytes:
        """Read until nothing comes for a while.  Raises MeterTimeout where it never ends."""
        deadline = Deadline.after(self._clock, _ANSWER_S)
        data = self._take_pending()
        with self._as_meter_errors():
            while deadline.remaining_s:
                new = self._connected.read(_READ_BYTES, _QUIET_S)
                if not new:
                    return data
                data = data[-_LINE_MAX:] + new
        raise MeterTimeout(f"{self.port}: does not stop sending within {_ANSWER_S:g} s", hint="replug it")

    def _read_until(self, end: bytes, what: str, max_bytes: int = 20 * _LINE_MAX) -> bytes:
        """Everything up to and with ``end``.  Raises MeterTimeout, or MeterProtocolError where too much comes."""
        deadline = Deadline.after(self._clock, _ANSWER_S)
        data = self._take_pending()
        with self._as_meter_errors():
            while end not in data:
                if not deadline.remaining_s:
                    last = f"; last came {data[-40:]!r}" if data else ""
                    raise MeterTimeout(
                        f"{self.port}: {what}: no answer within {_ANSWER_S:g} s{last}",
                        hint="is this the instrument's port, and is it switched on?",
                    )
                if len(data) > max_bytes:
                    raise MeterProtocolError(
                        f"{self.port}: {what}: {len(data)} bytes without the end of the answer, {data[:40]!r} ...",
                        hint="is this the instrument's port?",
                    )
                data += self._connected.read(_READ_BYTES, _READ_S)
        found, _, self._pending = data.partition(end)
        return found + end

    def _take_pending(self) -> bytes:
        data, self._pending = self._pending, b""
        return data

    @contextmanager
    def _as_meter_errors(self) -> Iterator[None]:
        try:
            yield
        except LinkError as error:
            self._link_lost = True
            raise MeterLost(error.message, hint=error.hint) from error


def _broken(raw: RawWriter, error: LinkError | MeterError) -> MeterError:
    """The error of a recording that ended before it was stopped."""
    if isinstance(error, StorageError):
        return StorageError(error.message, hint=f"{error.hint}; {_replay(raw)}")
    return MeterLost(f"{error.message}, after {raw.size} bytes", hint=_replay(raw))


def _replay(raw: RawWriter) -> str:
    return f"replay:{raw.path} decodes what came before"


class _Recorder:
    """A thread that carries bytes from a link into a raw file until ``finish`` is called and nothing comes any more."""

    def __init__(self, link: Link, raw: RawWriter) -> None:
        self.raw = raw
        self.error: LinkError | MeterError | None = None
        self._link = link
        self._last_s = self._looked_s = time.monotonic()
        self._quiet_from_s = float("inf")  # only silence after the stop is the end
        self._thread = threading.Thread(target=self._run, name=f"meter {link.name}", daemon=True)
        self._thread.start()

    @property
    def silent_s(self) -> float:
        """As far as it looked: a process that was stopped for a while has not seen yet what came meanwhile."""
        return max(0.0, self._looked_s - self._last_s)

    def finish(self) -> bool:
        """Wait for the rest; False where it never ended."""
        self._quiet_from_s = time.monotonic()
        self._thread.join(_DRAIN_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while time.monotonic() - max(self._last_s, self._quiet_from_s) < _QUIET_S:
                data = self._link.read(_READ_BYTES, _READ_S)
                self._looked_s = time.monotonic()
                if data:
                    self.raw.write(data)
                    self._last_s = time.monotonic()
        except (LinkError, MeterError) as error:
            self.error = error
