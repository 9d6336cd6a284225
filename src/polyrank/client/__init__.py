"""What happens where the data is: training, measuring, and what a client keeps."""
