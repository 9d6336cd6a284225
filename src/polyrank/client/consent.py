"""Refuse what a client's owner has not agreed to; the reason is the answer."""

from collections.abc import Mapping

from polyrank.client.agreement import Agreement
from polyrank.client.site import Site
from polyrank.lora.factors import Adapter, Tensors, adapter_bytes, tensors_bytes
from polyrank.protocol.messages import ProbeTask, Task, TrainTask


def run_refusal(agreement: Agreement, site: Site, base: Tensors) -> str | None:
    """Return why a client takes no part in a run, None if it does."""
    if len(site.train) < agreement.least_rows:
        return (
            f"this client takes part with at least {agreement.least_rows} training rows, and has "
            f"{len(site.train)}"
        )
    return _memory_refusal(agreement, tensors_bytes(base), "the base")


def task_refusal(agreement: Agreement, task: Task, base: Tensors) -> str | None:
    """Return why a client does not do what a task asks, None if it does."""
    if isinstance(task, TrainTask):
        adapter = task.download.adapter
        needed = tensors_bytes(base) + 4 * adapter_bytes(adapter)  # gradients, moments of Adam
        return _rank_refusal(agreement, _ranks(task)) or _memory_refusal(
            agreement, needed, "base and adapter"
        )
    if isinstance(task, ProbeTask):
        return _measure_refusal(agreement, task)
    return None


def _ranks(task: TrainTask) -> dict[str, int]:
    if task.slots is not None:
        return {module: len(slots) for module, slots in task.slots.items()}
    adapter: Adapter = task.download.adapter
    return {module: factors.rank for module, factors in adapter.items()}


def _rank_refusal(agreement: Agreement, ranks: Mapping[str, int]) -> str | None:
    for module, rank in ranks.items():
        if agreement.cap is not None and rank > agreement.cap:
            return (
                f"this client trains ranks up to {agreement.cap}, and module {module!r} was to "
                f"have {rank}"
            )
    return None


def _measure_refusal(agreement: Agreement, task: ProbeTask) -> str | None:
    allowed = agreement.criteria
    if allowed is not None:
        unwanted = [name for name in task.wanted.criteria if name not in allowed]
        if unwanted or task.wanted.ratios:
            asked = ", ".join(unwanted) or "spectra"
            return f"this client measures {', '.join(allowed) or 'nothing'}, and not {asked}"
    if task.wanted.head and not agreement.head_sums:
        return "this client sums up no features for a starting head"
    return None


def _memory_refusal(agreement: Agreement, needed: int, what: str) -> str | None:
    limit = agreement.megabytes
    if limit is not None and needed > limit * 10**6:
        return f"this client gives {limit} MB, and {what} need {needed / 10**6:.0f} MB"
    return None
