"""Jobs on SageMaker: names and requests by pure functions, the bundle, and the container's side.

Not yet run on AWS: docs/sagemaker.md says what holds it, and what it assumes.
"""
