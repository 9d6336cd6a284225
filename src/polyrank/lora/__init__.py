"""LoRA factors, and sums of their products without dense matrices."""
