"""Simulated instruments that speak the real ones' bytes, so that the drivers run against them unchanged."""
