"""A whole run from its settings to its report, and what is done with it afterwards."""
