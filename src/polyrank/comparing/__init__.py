"""Several ways to run one federation, with the same data, seeds and start, side by side."""
