"""What server and clients say to each other, and how it becomes bytes."""
