"""What happens where no data is: who trains what, and what comes of the answers."""
