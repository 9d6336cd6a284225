"""Controls: what a run is compared with, each as settings of its own. Torch-free.

``alone``: every client trains by itself, for as long as in the whole run. ``pooled``: one
client has all training rows. ``uniform``: one rank for all, of the same budget. The fourth
control, the frozen base, is round 0 of any run.

What is there for the sake of averaging is off in ``alone`` and ``pooled``: the server's
optimiser and running mean, FedProx's pull and the calibrated loss. Both train plain LoRA,
whatever the aggregator of the run has clients train.
"""

from collections.abc import Callable, Mapping
from typing import Any

from polyrank.errors import SettingsError, UnknownNameError, nearest
from polyrank.settings.schema import Settings
from polyrank.settings.toml import make_settings

Changes = dict[str, Any]  # top-level keys of a settings document, with all that is below them
PLAIN: Changes = {
    "aggregator": {"kind": "rbla"},
    "recipe": "paper",
    "server_optimizer": {"kind": "none"},
    "average": 0.0,
    "cohort_size": None,
    "cohort_fraction": None,
}


def control(settings: Settings, kind: str) -> Settings:
    """Return the settings of a control of a run.

    Seed, data, model and start are the run's, and so are the server's validation and test rows.

    ``alone`` is one round without an evaluation of the global model, which would be an average
    of strangers: what counts are the clients' own models on their own test rows. It lasts the
    run's rounds times its epochs (or steps), at the learning rate of the first round whatever
    the schedule. Ranks are those that the run's clients begin with, and so is the head, which may
    be made of sums over all clients (``head_init``): only the rounds are not shared.

    ``pooled`` has the run's rounds, epochs and schedule, for one client with all rows and the
    largest rank of each module: the rank of the run's global model. Budget and caps are of
    clients' devices and do not hold it. ``steps`` become those of all clients of a round.

    ``uniform`` has one rank for all, at what the ranks that the run begins with cost together:
    in the unit of its budget, or in parameters if there is none. Clients measure what the run's
    do, to know it.

    Where a cohort is drawn, rounds are those in which a client takes part on average.

    Args:
        settings: of the run.
        kind: ``alone``, ``pooled`` or ``uniform``.

    Raises:
        UnknownNameError: no such control.
        SettingsError: ``alone`` without ``data.client_test``, or a number of clients that is
            needed and not given.
    """
    if kind not in CONTROLS:
        raise UnknownNameError(
            f"control: there is no {kind!r}{nearest(kind, CONTROLS)}; "
            f"expected one of {', '.join(CONTROLS)}"
        )
    where = f"control {kind!r}"
    changes = {"name": f"{settings.name}-{kind}", **CONTROLS[kind](settings, where)}
    return make_settings({**settings.model_dump(), **changes}, where)


def _alone(run: Settings, where: str) -> Changes:
    turns, training = _turns(run, where), run.training
    length = {
        "epochs": turns * training.epochs,
        "steps": training.steps and turns * training.steps,
    }
    return {
        **PLAIN,
        "rounds": 1,
        "training": {**_plain_training(run), **length, "schedule": "constant"},
        "evaluation": {**run.evaluation.model_dump(), "global_model": False},
    }


def _pooled(run: Settings, where: str) -> Changes:
    steps = run.training.steps
    if steps:
        steps *= _clients(run, where, "training.steps, to take as many as all together")
    return {
        **PLAIN,
        "rounds": _turns(run, where),
        "quorum": 1,
        "partition": {"kind": "iid", "clients": 1},
        "allocator": {"kind": "uniform"},
        "ranks": {**run.ranks.model_dump(), "budget": None, "caps": {}, "refresh_every": None},
        "training": {**_plain_training(run), "steps": steps},
        "evaluation": {**run.evaluation.model_dump(), "global_model": True},
    }


def _uniform(run: Settings, where: str) -> Changes:
    of = {"of": run.allocator.kind, "of_options": run.allocator.options}
    ranks = {**run.ranks.model_dump(), "refresh_every": None}
    return {"allocator": {"kind": "level", **of}, "ranks": ranks}


CONTROLS: Mapping[str, Callable[[Settings, str], Changes]] = {
    "alone": _alone,
    "pooled": _pooled,
    "uniform": _uniform,
}


def _plain_training(run: Settings) -> Changes:
    return {**run.training.model_dump(), "prox_mu": 0.0, "local_loss": "cross_entropy"}


def _turns(run: Settings, where: str) -> int:
    """Return in how many rounds a client takes part on average, at least one."""
    share = run.cohort_fraction or 1.0
    if run.cohort_size:
        share = run.cohort_size / _clients(run, where, "cohort_size, to know how often each trains")
    return max(1, round(run.rounds * share))


def _clients(run: Settings, where: str, why: str) -> int:
    if run.partition.clients is None:
        raise SettingsError(f"{where}: expected partition.clients with {why}; got none")
    return run.partition.clients
