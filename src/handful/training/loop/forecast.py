"""How long a run will take, told once when enough steps have been seen."""

from __future__ import annotations

import time

SEEN = 20
"""Steps after which a forecast is worth something."""
_WARM_UP = 3
"""The first steps take longer: memory is allocated, kernels are chosen or compiled."""


class Forecast:
    """Watches the steps of this process; a resumed run is forecast anew."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen = 0
        self._began = 0.0

    def step(self, done: int) -> str | None:
        """The forecast after `done` steps of the run, once; validations are not in it."""
        self._seen += 1
        if self._seen == _WARM_UP:
            self._began = time.monotonic()
        if self._seen != SEEN or done >= self._total:
            return None
        each = (time.monotonic() - self._began) / (SEEN - _WARM_UP)
        left = self._total - done
        duration = _format_forecast_time(each * left)
        return f"{each:.2f} s a step, so about {duration} for the {left:,} steps left"


def _format_forecast_time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
