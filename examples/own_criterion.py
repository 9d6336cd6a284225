"""A criterion of one's own decides ranks together with two of ours.

python examples/own_criterion.py
"""

import polyrank
from polyrank.criteria import ClientView


def rarest_label_share(view: ClientView) -> float:
    """Return the share of the rarest label that the client has: even labels, high value."""
    present = view.label_counts[view.label_counts > 0]
    return float(present.min() / present.sum())


if __name__ == "__main__":
    result = polyrank.run(
        {
            "name": "own-criterion",
            "rounds": 3,
            "partition": {"kind": "double_imbalance", "clients": 5},
            "criteria": ["label_entropy", "sample_count", rarest_label_share],
            "ranks": {"r_min": 2, "r_max": 16, "budget": 6},
        }
    )
    for name, weight in result.summary["criterion_weights"].items():
        print(f"{name:<40} weight {weight:.3f}")
    for client, ranks in result.summary["ranks"].items():
        print(f"client {client}: {ranks}")
