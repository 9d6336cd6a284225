"""Plant faults in the code, one at a time, and see which test notices.

    python scripts/plant_faults.py [--only PATTERN] [--jobs N] [--out FILE]

``planted_faults.toml`` beside this script holds the faults: a file under ``src/polyrank``, a
text in it, what stands there instead, and the test files that should notice. Source and tests
are copied to a temporary folder for each job, so that the working tree is left alone, and the
tests run there until the first one fails. Before that, they must all pass with no fault at all.

Tools that change every line, such as mutmut and cosmic-ray, need a run of the tests for each
of some ten thousand changes, and most of those no engineer would make; here a person has
thought of each fault, and one that no test notices is a test to be written.

Only a test that fails notices a fault: one that leaves a file unreadable is an error of the
list. Exits with 1 in that case, if a fault's text is no longer in its file just once, if a test
fails without a fault, or if fewer than nine faults in ten are noticed.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import queue
import shutil
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FAULTS = Path(__file__).with_name("planted_faults.toml")
COPIED = ("src", "tests", "examples", "pyproject.toml")
LEAST = 0.9  # of the faults must be noticed
SECONDS = 600  # for the tests of one fault; a loop that does not end is noticed too

QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")  # of what is imported beforehand

CONTEXT = multiprocessing.get_context("forkserver")  # torch is imported once, not for each fault
CONTEXT.set_forkserver_preload(["torch", "peft", "transformers", "sklearn.metrics", "scipy.stats"])


@dataclass(frozen=True)
class Fault:
    """One fault: what is wrong, in words, and where."""

    name: str
    file: str
    text: str
    instead: str
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file, from the root."""
        return Path("src", "polyrank", self.file)


@dataclass(frozen=True)
class Outcome:
    """What the tests said: the first that failed, or None where all passed."""

    fault: str
    file: str
    noticed_by: str | None


def read_faults() -> list[Fault]:
    """Read the list; each text must be in its file just once."""
    entries = tomllib.loads(FAULTS.read_text("utf-8"))["fault"]
    faults = [Fault(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]
    lost = [f for f in faults if (ROOT / f.path).read_text("utf-8").count(f.text) != 1]
    lost += [f for f in faults if not all((ROOT / test).is_file() for test in f.tests)]
    if lost:
        names = "\n  ".join(f"{f.file}: {f.name}" for f in lost)
        raise SystemExit(f"expected each text just once in its file, and the tests, of:\n  {names}")
    if len({f.name for f in faults}) < len(faults):
        raise SystemExit(f"{FAULTS.name}: expected each name once")
    return faults


@contextlib.contextmanager
def copied_tree() -> Iterator[Path]:
    """Copy what tests need; the copy goes away with its end."""
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder, name)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        yield Path(folder)


class Failed:
    """A plugin of pytest that keeps the name of the first test that fails."""

    first: str | None = None

    def pytest_runtest_logreport(self, report: object) -> None:
        """Look at a test's report."""
        if getattr(report, "failed", False) and self.first is None:
            self.first = str(getattr(report, "nodeid", ""))

    def pytest_collectreport(self, report: object) -> None:
        """Look at the report of a file that could not be read."""
        self.pytest_runtest_logreport(report)


def in_child(tree: Path, tests: Sequence[str], answer: Connection) -> None:
    """Run tests of a tree and send the name of the first that fails; in a process of its own."""
    os.setpgid(0, 0)
    os.chdir(tree)
    sys.path[:0] = [str(tree / "src"), str(tree)]
    os.environ["PYTHONPATH"] = str(tree / "src")
    import pytest

    failed = Failed()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        words = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *QUIET, *tests]
        code = pytest.main(words, plugins=[failed])
    answer.send((int(code), failed.first))


def first_failure(tree: Path, tests: Sequence[str], seconds: int = SECONDS) -> str | None:
    """Return the first test that fails, or None.

    Raises:
        RuntimeError: the tests could not be run.
    """
    here, there = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=in_child, args=(tree, tests, there))
    process.start()
    there.close()
    try:
        if not here.poll(seconds):
            return f"no end in {seconds} seconds"
        code, failed = here.recv()
    except EOFError as error:
        raise RuntimeError(f"{' '.join(tests)}: the process died") from error
    finally:
        assert process.pid
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # and the workers that it started
        process.join()
    if code not in (0, 1) or (code == 1 and "::" not in (failed or "")):
        raise RuntimeError(f"pytest ended with {code}: {failed}")
    return str(failed) if code else None


def tried(tree: Path, place: int, fault: Fault) -> Outcome:
    """Plant a fault in a tree, run its tests, and take it out again."""
    path = tree / fault.path
    sound, times = path.read_text("utf-8"), path.stat()
    path.write_text(sound.replace(fault.text, fault.instead), "utf-8")
    os.utime(path, (place, place))  # bytecode is told by size and second; no two faults share both
    try:
        return Outcome(fault.name, fault.file, first_failure(tree, fault.tests))
    finally:
        path.write_text(sound, "utf-8")
        os.utime(path, (times.st_atime, times.st_mtime))


def all_tried(faults: Sequence[Fault], jobs: int) -> Iterator[Outcome]:
    """Try all faults, so many at a time, each job in a tree of its own."""
    trees: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def one(numbered: tuple[int, Fault]) -> Outcome:
        tree = trees.get()
        outcome = tried(tree, *numbered)
        trees.put(tree)
        return outcome

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        made = [stack.enter_context(copied_tree()) for _ in range(jobs)]
        files = sorted({test for fault in faults for test in fault.tests})
        found = first_failure(made[0], files, SECONDS * len(files))
        if found:
            raise SystemExit(f"without any fault: {found}")
        for tree in made:
            trees.put(tree)
        yield from pool.map(one, enumerate(faults, start=1))


def keep(path: Path, listed: Sequence[Fault], outcomes: Sequence[Outcome]) -> None:
    """Write outcomes to a file; what it says of faults that were not tried this time stays."""
    before = json.loads(path.read_text("utf-8"))["outcomes"] if path.exists() else []
    found = {o["fault"]: o for o in before} | {o.fault: asdict(o) for o in outcomes}
    rows = [found[fault.name] for fault in listed if fault.name in found]
    noticed = sum(row["noticed_by"] is not None for row in rows)
    result = {"faults": len(rows), "noticed": noticed, "outcomes": rows}
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


def main() -> None:
    """Read the command line, try every fault, print and keep what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="faults whose file or name holds this text")
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at the same time")
    parser.add_argument("--out", type=Path, help="a JSON file for the outcomes")
    given = parser.parse_args()
    listed = read_faults()
    faults = [f for f in listed if given.only in f.file or given.only in f.name]
    if not faults:
        raise SystemExit(f"no fault has {given.only!r} in its file or name")
    os.environ["OMP_NUM_THREADS"] = "1"
    outcomes = []
    for outcome in all_tried(faults, given.jobs):
        print(
            f"{outcome.file}: {outcome.fault}\n    {outcome.noticed_by or 'NOT NOTICED'}",
            flush=True,
        )
        outcomes.append(outcome)
        if given.out:
            keep(given.out, listed, outcomes)
    noticed = sum(o.noticed_by is not None for o in outcomes)
    print(f"{noticed} of {len(outcomes)} faults noticed")
    sys.exit(noticed < LEAST * len(outcomes))


if __name__ == "__main__":
    main()
