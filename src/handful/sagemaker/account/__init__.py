"""The AWS account: who asks, what they and the jobs may do, what it costs, and our stack."""
