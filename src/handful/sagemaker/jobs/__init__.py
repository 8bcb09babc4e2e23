"""Jobs on SageMaker: requested, followed until they end, their answers taken, and what they cost.

Not yet run on AWS: docs/sagemaker.md says what holds it, and what it assumes.
"""
