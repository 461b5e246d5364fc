"""Pictures of episodes and weights: each draws arrays into a matplotlib figure that it is given."""
