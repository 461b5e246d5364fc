"""One page of runs: a self-contained HTML file that needs no network."""
