"""What the verbs that use an instrument by itself refuse before they open it."""

from __future__ import annotations

_LONGEST_S = 1e6


def require_instrument(spec: str) -> None:
    """Raises SettingError for a meter that is computed: there is nothing to record, check or supply with it."""
    from hil.meter.errors import SettingError

    if spec.partition("?")[0].partition(":")[0] == "simulated":
        raise SettingError(
            f"{spec}: a simulated meter watches a benchmark only", hint="hil bench --meter simulated, or an instrument"
        )


def require_seconds(seconds: float) -> None:
    """Raises ConfigError for a recording of no length, or longer than anybody waits."""
    from hil.errors import ConfigError

    if not 0 < seconds <= _LONGEST_S:
        raise ConfigError(f"--seconds {seconds:g}: expected more than 0, at most {_LONGEST_S:g} (eleven days)")
