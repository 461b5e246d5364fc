"""From a trained policy to neuromorphic hardware."""
