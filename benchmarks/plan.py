"""Time `polyrank plan` on a file of many clients: read, decide, write, in a fresh process.

    python benchmarks/plan.py [--clients 1000000] [--criteria 4] [--seed 0]

The child's peak memory is its maximum resident set, from getrusage.
"""

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PLAN = """
import sys
from pathlib import Path
from polyrank.planning.rank_plan import plan
planned = plan(Path(sys.argv[1]), r_min=4, r_max=64, budget=16)
planned.write_csv(Path(sys.argv[2]))
"""


def write_clients(path: Path, clients: int, criteria: int, seed: int) -> None:
    """Write shuffled ids and evenly drawn criteria, a thousand rows at a time."""
    rng = np.random.default_rng(seed)
    ids = rng.permutation(clients)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["client", *(f"criterion_{j}" for j in range(criteria))])
        for start in range(0, clients, 1000):
            names = [f"client-{at:07d}" for at in ids[start : start + 1000]]
            values = rng.random((len(names), criteria)).tolist()
            writer.writerows([name, *row] for name, row in zip(names, values, strict=True))


def main() -> None:
    """Generate the file, run the child, print seconds and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--criteria", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder, "clients.csv"), Path(folder, "ranks.csv")
        write_clients(source, options.clients, options.criteria, options.seed)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", PLAN, str(source), str(out)], check=True)
        seconds = time.perf_counter() - start
        unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes there, KiB here
        child = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak, cpu = child.ru_maxrss * unit, child.ru_utime + child.ru_stime
        print(
            f"{options.clients} clients x {options.criteria} criteria, seed {options.seed}: "
            f"{seconds:.1f} s ({cpu:.1f} s of processor), peak {peak / 2**20:.0f} MiB, "
            f"read {source.stat().st_size / 2**20:.0f} MiB, "
            f"wrote {out.stat().st_size / 2**20:.0f} MiB"
        )


if __name__ == "__main__":
    main()
