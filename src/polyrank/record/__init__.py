"""The run folder: settings, records and states of a run on the disk."""
