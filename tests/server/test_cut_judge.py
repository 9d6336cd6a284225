"""The global model cut to its first slots: judged on rows of the server's, or of clients'."""

from dataclasses import replace

import pytest
import torch

import polyrank
from polyrank.aggregators.aggregator import ServerModel
from polyrank.engines.local import LocalEngine
from polyrank.errors import SettingsError, TrainingError
from polyrank.lora.factors import first_slots, start_factors
from polyrank.protocol.counts import Correct, CorrectTokens
from polyrank.protocol.messages import Counted, EvaluateTask, ExamineTask, Failure, TaskId
from polyrank.runs.preparation import MOST_FOR_CUTS, first_adapter, prepare
from polyrank.server.cut_judge import CutJudge
from polyrank.server.downloads import whole
from polyrank.server.rules import Rules, rules_of
from tests.allocators.test_need import by_need
from tests.small import small
from tests.written import lines_in

NONE_HELD_OUT = {"source": "tests.small:tiny_digits", "validation": 0}
RULES = Rules("r", seed=0, rounds=5)


@pytest.fixture(scope="module")
def prepared():
    return prepare(small(cohort_size=3), None)


def some_model(prepared):
    """A model whose slots all do something."""
    start = first_adapter(small(), prepared.server.shapes)
    drawn = torch.Generator().manual_seed(0)
    adapter = {
        m: replace(f, b=0.3 * torch.randn(f.b.shape, generator=drawn)) for m, f in start.items()
    }
    return ServerModel(adapter, prepared.server.extras)


def judge_of(prepared, rows=0):
    engine = LocalEngine(prepared.crew)
    held = {client: len(site.test) for client, site in prepared.sites.items()}
    rules = rules_of(prepared.server.blueprint.settings)
    return CutJudge(rules, engine.examine, rows, engine, held)


def test_a_cut_keeps_the_first_slots_of_every_module_and_all_of_a_smaller_one():
    adapter = {"a": start_factors((5, 7), 6, 0, "a"), "b": start_factors((5, 7), 2, 0, "b")}
    cut = first_slots(adapter, 4)
    assert [f.rank for f in cut.values()] == [4, 2]
    assert torch.equal(cut["a"].a, adapter["a"].a[:4])
    assert first_slots(adapter, 0) == {}


def test_on_rows_of_the_server_each_cut_is_judged_as_a_model_of_its_own(prepared):
    rows, model = len(prepared.server.rows["cuts"]), some_model(prepared)
    judge = judge_of(prepared, rows)
    found = judge.judge(model, 1, [6, 0, 2])
    assert (found.rows, found.held_by, found.cost.down) == (rows, "server", 0)
    assert [*found.losses] == [0, 2, 6]
    for slots, loss in found.losses.items():
        download = whole(replace(model, adapter=first_slots(model.adapter, slots)))
        (own,) = judge.examine([ExamineTask(TaskId("r", 1, ""), "cuts", download, 0, rows)])
        assert loss == pytest.approx(own.loss / rows)
    assert len(set(found.losses.values())) == 3


def test_on_rows_of_clients_their_sums_are_added_up_and_the_bytes_counted(prepared):
    """Three of four clients, each sent the whole model once."""
    judge, model = judge_of(prepared), some_model(prepared)
    found = judge.judge(model, 1, [0, 2, 6])
    asked = judge._drawn(1)
    assert len(asked) == 3
    rows = sum(judge.client_rows[client] for client in asked)
    assert (found.rows, found.held_by) == (rows, "clients")
    assert found.cost.down == 3 * whole(model).nbytes
    assert found.cost.up == 3 * 8 * (3 + 2)  # losses of the whole and of two cuts, right and all
    for slots, loss in found.losses.items():
        cut = whole(replace(model, adapter=first_slots(model.adapter, slots)))
        tasks = [EvaluateTask(TaskId("r", 1, client), cut) for client in asked]
        total = sum(answer.loss for _, answer in judge.engine.run(tasks))
        assert loss == pytest.approx(total / rows)


def test_other_clients_are_asked_in_other_rounds_and_none_without_rows(prepared):
    judge = judge_of(prepared)
    assert len({tuple(judge._drawn(round)) for round in range(8)}) > 1
    some = replace(judge, client_rows={**judge.client_rows, "1": 0})
    assert all("1" not in some._drawn(round) for round in range(8))


def test_the_server_judges_on_a_draw_of_its_validation_rows_that_a_small_part_is_whole_of(
    prepared, monkeypatch
):
    rows = prepared.server.rows
    assert torch.equal(rows["cuts"].numbers, rows["validation"].numbers)
    monkeypatch.setattr("polyrank.runs.preparation.MOST_FOR_CUTS", 12)
    fewer = prepare(small(), None).server.rows["cuts"]
    assert MOST_FOR_CUTS == 1000
    assert len(fewer) == 12
    assert torch.isin(fewer.numbers, rows["validation"].numbers).all()
    assert not torch.equal(fewer.numbers, rows["validation"].numbers[:12])


@pytest.mark.parametrize(
    ("loss", "losses", "said"),
    [
        (3.0, [4.0], "expected 2 numbers"),
        (3.0, "ab", "expected 2 numbers"),
        (3.0, [4.0, float("inf")], "expected a finite number from 0 up"),
        (3.0, [4.0, -1.0], "expected a finite number from 0 up"),
        (float("nan"), [4.0, 5.0], "expected a finite number from 0 up"),
        (3.0, [4.0, True], "expected a finite number from 0 up"),
    ],
)
def test_sums_that_cannot_be_are_told_and_left_out(loss, losses, said):
    told = []

    class Counting:
        def run(self, tasks, patience):
            for task in tasks:
                bad = task.id.client == "b"
                came = (loss, losses) if bad else (6.0, [12.0, 8.0])
                yield task, Counted(task.id, Correct(3, 10), *came)

    rows = dict.fromkeys("abc", 10)
    judge = CutJudge(RULES, iter, 0, Counting(), rows, told.append)
    model = ServerModel({"fc": start_factors((5, 7), 6, 0, "fc")}, {})
    found = judge.judge(model, 1, [0, 3, 6])
    assert found.losses == {0: 1.2, 3: 0.8, 6: 0.6}
    assert found.rows == 20
    assert [turn.client for turn in told] == ["b"]
    assert said in told[0].failed


def test_where_nobody_answers_nothing_is_found():
    class Lost:
        def run(self, tasks, patience):
            return ((task, Failure(task.id, "gone")) for task in tasks)

    judge = CutJudge(RULES, iter, 0, Lost(), {"a": 10})
    model = ServerModel({"fc": start_factors((5, 7), 6, 0, "fc")}, {})
    assert judge.judge(model, 1, [0, 6]).losses == {}


def test_an_evaluation_on_the_servers_own_rows_that_fails_ends_the_run():
    def examine(tasks):
        return (Failure(task.id, "out of memory") for task in tasks)

    judge = CutJudge(RULES, examine, 5, None, {})
    model = ServerModel({"fc": start_factors((5, 7), 6, 0, "fc")}, {})
    with pytest.raises(TrainingError, match="a cut model failed: out of memory"):
        judge.judge(model, 1, [0, 6])


def test_a_run_without_validation_rows_asks_clients_and_counts_it(tmp_path):
    settings = by_need(data=NONE_HELD_OUT, cohort_size=2, rounds=4)
    polyrank.run(settings, out=tmp_path / "run")
    rounds, clients = (lines_in(tmp_path / "run", kind) for kind in ("rounds", "clients"))
    updates = [line for line in clients if line["event"] == "update"]
    for line in rounds[1:-1]:  # after the last one the exported model is judged
        trained = [u["bytes"]["down"] for u in updates if u["round"] == line["round"]]
        slots = [c["slots"] for c in line.get("cuts", [])]
        asked = line["bytes"]["down"] - sum(trained)
        sizes = {"fc1": (64, 16), "fc2": (16, 10)}
        most = {m: min(max(slots, default=0), *shape) for m, shape in sizes.items()}
        model = 4 * (16 + 10) + sum(4 * r * sum(sizes[m]) for m, r in most.items())
        assert asked == (2 * model if slots else 0)
    assert any(line.get("cuts") for line in rounds)


def test_where_nobody_holds_rows_back_a_run_says_so_before_it_starts(tmp_path):
    settings = by_need(data={**NONE_HELD_OUT, "client_test": 0})
    with pytest.raises(SettingsError, match=r"expected data.validation above 0, or data.client_"):
        polyrank.run(settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    kept = {"kind": "need", "start": 3, "settled": 0.0}  # slots that stay need no rows
    polyrank.run(by_need(data=settings.data, allocator=kept, rounds=1), out=tmp_path / "run")


def test_a_run_whose_slots_have_grown_goes_on(tmp_path):
    """Its state has fewer slots than the largest rank, which it starts the comparison from."""
    polyrank.run(by_need(rounds=2), out=tmp_path / "run")
    polyrank.resume(tmp_path / "run", overrides=["rounds=3"], trust=True)
    assert len(lines_in(tmp_path / "run", "rounds")) == 4


def test_losses_of_a_language_model_are_means_over_tokens():
    """12 over 4 and 8 tokens at no slots; a client with more tokens counts more."""

    class Counting:
        def run(self, tasks, patience):
            for task in tasks:
                tokens = 4 if task.id.client == "a" else 8
                yield task, Counted(task.id, CorrectTokens(1, tokens), 2.0, [6.0])

    judge = CutJudge(RULES, iter, 0, Counting(), {"a": 1, "b": 1})
    model = ServerModel({"fc": start_factors((5, 7), 6, 0, "fc")}, {})
    found = judge.judge(model, 1, [0, 6])
    assert found.losses == {0: 1.0, 6: pytest.approx(1 / 3)}
    assert (found.rows, found.cost.up) == (2, 2 * 8 * 4)
