"""What a run is told: typed settings, read from TOML and written to it."""
