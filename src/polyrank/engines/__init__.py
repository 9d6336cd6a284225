"""Engines carry tasks to clients and bring answers back."""
