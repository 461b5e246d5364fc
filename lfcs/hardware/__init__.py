"""From a policy to neuromorphic hardware and to other simulators."""
