"""Ranks and splits before anything is trained."""
