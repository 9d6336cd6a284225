"""One model in one process: built, wrapped, trained, and its answers counted."""
