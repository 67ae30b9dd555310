"""Emulated boards: a program made from a plan, run by the firmware in an emulator, with the accelerator on the host."""
