"""A federation on several machines, on NVFlare; nothing else of PolyRank imports nvflare."""
