"""Numbers to be believed: metrics, significance, baselines, label review; nothing of tensors."""
