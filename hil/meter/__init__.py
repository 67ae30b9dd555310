"""Power meters: instruments and importers, traces, alignment with a board's phases, energy by phase."""
