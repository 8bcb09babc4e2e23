"""Jobs on SageMaker: names and requests by pure functions, the bundle, and the container's side.

Not yet what `BACKEND` may name: docs/sagemaker.md says what stands.
"""
