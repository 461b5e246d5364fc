"""What ``make results`` runs: which tasks, rules and seeds. ``tasks`` None: every experiment.

The seeds are used for nothing else: ``lfcs tune`` has 500 to 502, comparisons have 10 to 49 and 201 to 203.
"""

STANDINGS = {
    "tasks": None,
    "agents": ["lf-cs", "e-prop", "bptt-ppo"],
    "seeds": [1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009],
}
