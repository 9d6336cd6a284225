"""Multi-criteria decision analysis in plain NumPy: CRITIC weights and TOPSIS scores."""

from polyrank.mcda.critic import critic
from polyrank.mcda.topsis import Normalisation, balance, topsis

__all__ = ["Normalisation", "balance", "critic", "topsis"]
