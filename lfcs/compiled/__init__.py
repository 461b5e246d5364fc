"""The compiled forms of acting and learning: one call a window. What they compute is defined elsewhere."""
