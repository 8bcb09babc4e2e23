"""How good one set of answers is: metrics, their intervals and calibration, on arrays alone."""
