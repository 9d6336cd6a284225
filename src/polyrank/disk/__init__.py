"""Files that are whole or not there, tensors with a hash, and small files from elsewhere."""
