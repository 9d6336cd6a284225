"""The client's half: train, measure, evaluate, and keep what stays with the client."""
