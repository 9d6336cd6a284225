"""Atomic file writes, tensors with a checksum, and small files from untrusted sources."""
