"""Calibration: published and own measurements, checks on them, and cost models fitted to them."""
