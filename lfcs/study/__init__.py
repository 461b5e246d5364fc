"""Many runs: plans, jobs, results, statistics, reports, figures and peers."""
