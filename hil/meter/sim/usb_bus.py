"""A USB bus for pyusb without any hardware: simulated devices behind pyusb's own border, ``usb.backend.IBackend``.

``with plugged(device): ...`` makes pyusb, and every library on it, find these devices and no others.  A device has one
configuration with one interface and one bulk endpoint in each direction.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Protocol

import usb.backend
import usb.backend.libusb1
import usb.core

BULK_IN, BULK_OUT = 0x81, 0x01
_PACKET_BYTES = 64
_GET_DESCRIPTOR, _STRING = 0x06, 0x03
_STANDARD_IN = 0x80
_US_ENGLISH = b"\x09\x04"


class Device(Protocol):
    """What a simulated device does.  All of it may raise ``gone()``, ``timed_out()`` or ``refused()``."""

    vendor: int
    product: int
    strings: tuple[str, str, str]  # manufacturer, product, serial number

    def attached(self) -> bool: ...
    def control_in(self, request: int, value: int, index: int) -> bytes: ...
    def control_out(self, request: int, value: int, index: int, data: bytes) -> None: ...
    def bulk_in(self, timeout_s: float) -> bytes: ...
    def reset(self) -> None: ...


def gone() -> Exception:
    """What libusb says of a device that was unplugged."""
    error: Exception = usb.core.USBError("No such device (it may have been disconnected)", -4, errno.ENODEV)
    return error


def timed_out() -> Exception:
    error: Exception = usb.core.USBTimeoutError("Operation timed out", -7, errno.ETIMEDOUT)
    return error


def refused() -> Exception:
    """What libusb says where a device stalls: it does not know the request, or not now."""
    error: Exception = usb.core.USBError("Pipe error", -9, errno.EPIPE)
    return error


@contextmanager
def plugged(*devices: Device) -> Iterator[None]:
    """pyusb finds these devices.  No device is a bus without any; without this, it looks for libusb."""
    backend = _Backend(devices)
    original = usb.backend.libusb1.get_backend
    usb.backend.libusb1.get_backend = lambda *_, **__: backend
    try:
        yield
    finally:
        usb.backend.libusb1.get_backend = original


class _Backend(usb.backend.IBackend):  # type: ignore[misc] # pyusb has no types
    """Only what pyusb asks for with bulk and control transfers."""

    def __init__(self, devices: tuple[Device, ...]) -> None:
        super().__init__()
        self._devices = devices
        self._configured: dict[int, int] = {}

    # Descriptors: USB 2.0, chapter 9.6.

    def enumerate_devices(self) -> Iterator[Device]:
        return (device for device in self._devices if device.attached())

    def get_device_descriptor(self, dev: Device) -> SimpleNamespace:
        return SimpleNamespace(
            bLength=18,
            bDescriptorType=1,
            bcdUSB=0x0200,
            bDeviceClass=0xFF,
            bDeviceSubClass=0,
            bDeviceProtocol=0,
            bMaxPacketSize0=_PACKET_BYTES,
            idVendor=dev.vendor,
            idProduct=dev.product,
            bcdDevice=0x0100,
            iManufacturer=1,
            iProduct=2,
            iSerialNumber=3,
            bNumConfigurations=1,
            address=1 + self._devices.index(dev),
            bus=1,
            port_number=1,
            port_numbers=(1,),
            speed=2,  # full speed
        )

    def get_configuration_descriptor(self, dev: Device, config: int) -> SimpleNamespace:
        if config != 0:
            raise IndexError(config)
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=2,
            wTotalLength=32,
            bNumInterfaces=1,
            bConfigurationValue=1,
            iConfiguration=0,
            bmAttributes=0xC0,
            bMaxPower=50,
            extra_descriptors=array("B"),
        )

    def get_interface_descriptor(self, dev: Device, intf: int, alt: int, config: int) -> SimpleNamespace:
        if (intf, alt, config) != (0, 0, 0):
            raise IndexError((intf, alt, config))
        return SimpleNamespace(
            bLength=9,
            bDescriptorType=4,
            bInterfaceNumber=0,
            bAlternateSetting=0,
            bNumEndpoints=2,
            bInterfaceClass=0xFF,
            bInterfaceSubClass=0,
            bInterfaceProtocol=0,
            iInterface=0,
            extra_descriptors=array("B"),
        )

    def get_endpoint_descriptor(self, dev: Device, ep: int, intf: int, alt: int, config: int) -> SimpleNamespace:
        return SimpleNamespace(
            bLength=7,
            bDescriptorType=5,
            bEndpointAddress=(BULK_IN, BULK_OUT)[ep],
            bmAttributes=2,  # bulk
            wMaxPacketSize=_PACKET_BYTES,
            bInterval=0,
            bRefresh=0,
            bSynchAddress=0,
            extra_descriptors=array("B"),
        )

    # The device.

    def open_device(self, dev: Device) -> Device:
        if not dev.attached():
            raise gone()
        return dev

    def close_device(self, dev_handle: Device) -> None:
        self._configured.pop(id(dev_handle), None)

    def set_configuration(self, dev_handle: Device, config_value: int) -> None:
        self._configured[id(dev_handle)] = config_value

    def get_configuration(self, dev_handle: Device) -> int:
        return self._configured.get(id(dev_handle), 0)

    def claim_interface(self, dev_handle: Device, intf: int) -> None:
        pass

    def release_interface(self, dev_handle: Device, intf: int) -> None:
        pass

    def detach_kernel_driver(self, dev_handle: Device, intf: int) -> None:
        raise usb.core.USBError("Entity not found", -5, errno.ENOENT)  # there is none

    def reset_device(self, dev_handle: Device) -> None:
        dev_handle.reset()

    # Transfers: what a library sends and gets.

    def bulk_read(self, dev_handle: Device, ep: int, intf: int, buff: Any, timeout: int) -> int:
        assert ep == BULK_IN
        return _fill(buff, dev_handle.bulk_in(timeout * 1e-3))

    def ctrl_transfer(
        self,
        dev_handle: Device,
        bmRequestType: int,  # noqa: N803 pyusb's names
        bRequest: int,  # noqa: N803
        wValue: int,  # noqa: N803
        wIndex: int,  # noqa: N803
        data: Any,
        timeout: int,
    ) -> int:
        if not dev_handle.attached():
            raise gone()
        if bmRequestType == _STANDARD_IN and bRequest == _GET_DESCRIPTOR and wValue >> 8 == _STRING:
            return _fill(data, _string_descriptor(dev_handle.strings, wValue & 0xFF))
        if bmRequestType & 0x80:
            return _fill(data, dev_handle.control_in(bRequest, wValue, wIndex))
        dev_handle.control_out(bRequest, wValue, wIndex, bytes(data))
        return len(data)


def _fill(buffer: Any, data: bytes) -> int:
    """Bytes into the host's buffer, as many as it holds; how many."""
    count = min(len(data), len(buffer))
    buffer[:count] = array("B", data[:count])
    return count


def _string_descriptor(strings: tuple[str, ...], number: int) -> bytes:
    """Number 0 lists the languages."""
    if number > len(strings):
        raise refused()
    text = strings[number - 1].encode("utf-16-le") if number else _US_ENGLISH
    return bytes((len(text) + 2, _STRING)) + text
