"""What a policy costs and needs on neuromorphic hardware, and its ways there."""
