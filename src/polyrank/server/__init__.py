"""The server's half: choose ranks, draw cohorts, check and aggregate answers, evaluate."""
