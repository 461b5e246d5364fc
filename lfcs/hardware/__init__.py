"""What a policy costs and needs on neuromorphic hardware."""
