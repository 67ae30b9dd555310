"""Instruments, one module each.  ``hil.meter.registry.open_meter`` finds them by name."""
