"""Examples as models take them: arrays, images and texts, cut into batches by row number."""
