"""The arrays that this room works on."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
"""Label ids, or row numbers."""
Floats = npt.NDArray[np.float64]
Booleans = npt.NDArray[np.bool_]
