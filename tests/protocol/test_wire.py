import torch

from polyrank.lora.base_change import Patch
from polyrank.lora.factors import B, Factors, prefix
from polyrank.lora.int8 import packed
from polyrank.protocol.counts import Confusion, Correct, CorrectTokens
from polyrank.protocol.messages import (
    Counted,
    Download,
    EvaluateTask,
    ExamineTask,
    Failure,
    Measured,
    ProbeTask,
    Profile,
    ProfileTask,
    TaskId,
    TrainTask,
    Update,
    Wanted,
)
from polyrank.protocol.wire import pack, unpack

ID = TaskId("run", 3, "client, ü", 1)
ADAPTER = {"block.fc": Factors(torch.randn(2, 3), torch.randn(4, 2), torch.tensor([1, 5]))}
EXTRAS = {"norm.count": torch.tensor(7), "fc.bias": torch.randn(4).bfloat16()}


def assert_model(adapter, extras):
    assert all(
        torch.equal(getattr(adapter["block.fc"], part), getattr(ADAPTER["block.fc"], part))
        for part in ("a", "b", "slots")
    )
    assert {n: t.dtype for n, t in extras.items()} == {n: t.dtype for n, t in EXTRAS.items()}
    assert all(torch.equal(extras[n], t) for n, t in EXTRAS.items())


def test_tasks_come_out_as_they_went_in():
    task = unpack(pack(TrainTask(ID, Download(ADAPTER, EXTRAS), 0.01)))
    assert (task.id, task.rate) == (ID, 0.01)
    assert_model(task.download.adapter, task.download.extras)
    probe = unpack(pack(ProbeTask(ID, Download(ADAPTER, EXTRAS), 0.01, Wanted(("x",), 3), 2)))
    assert (probe.wanted, probe.last) == (Wanted(("x",), 3), 2)
    assert unpack(pack(ProfileTask(ID))) == ProfileTask(ID)
    own = EvaluateTask(ID, None, [0, 2])
    assert unpack(pack(own)) == own
    shared = unpack(pack(ExamineTask(ID, "test", Download(ADAPTER, {}), 2, 9)))
    assert list(shared.download.adapter) == ["block.fc"]
    assert shared.download.extras == {}


def test_what_a_base_lacks_and_the_slots_to_train_come_out_as_they_went_in():
    steps = tuple({"block.fc": (torch.randn(4, n), torch.randn(n, 3))} for n in (1, 2))
    patch = Patch(1, 3, {"other": torch.randn(2, 2)}, steps)
    lacking = {"block.fc": ADAPTER["block.fc"].only(B)}
    slots = {"block.fc": torch.tensor([5])}
    task = unpack(pack(TrainTask(ID, Download(lacking, {}, patch), 0.1, slots, last=2)))
    assert task.last == 2
    assert task.slots["block.fc"].tolist() == [5]
    assert task.download.adapter["block.fc"].a.shape == (2, 0)
    assert task.download.nbytes == Download(lacking, {}, patch).nbytes
    came = task.download.base
    assert (came.since, came.version) == (1, 3)
    assert torch.equal(came.totals["other"], patch.totals["other"])
    for mine, theirs in zip(patch.steps, came.steps, strict=True):
        assert all(map(torch.equal, mine["block.fc"], theirs["block.fc"]))


def test_answers_come_out_as_they_went_in():
    update = unpack(pack(Update(ID, ADAPTER, EXTRAS, 12.0, float("nan"), steps=5, seconds=1.5)))
    assert (update.id, update.examples, update.steps, update.seconds) == (ID, 12.0, 5, 1.5)
    assert update.loss != update.loss
    assert_model(update.adapter, update.extras)
    measured = Measured(ID, {"label_count": 3.0}, 4, 0.5, {"fc": [0.5, 0.25]})
    assert measured.nbytes == 24
    assert unpack(pack(measured)) == measured
    assert unpack(pack(Failure(ID, "why"))) == Failure(ID, "why")
    counted = unpack(pack(Counted(ID, Confusion(torch.arange(4).reshape(2, 2)), 0.25)))
    assert type(counted.counts) is Confusion
    assert counted.counts.counts.tolist() == [[0, 1], [2, 3]]
    assert counted.loss == 0.25
    for counts in (Correct(3, 4), CorrectTokens(3, 4)):
        counted = Counted(ID, counts, 0.5, [0.75, 1.0])
        assert counted.nbytes == 40
        assert unpack(pack(counted)) == counted
    for profile in (Profile(ID), Profile(ID, 5, 0, [2, 3])):
        assert unpack(pack(profile)) == profile


def test_slices_of_larger_tensors_do_not_drag_the_rest_along():
    whole = Factors(torch.randn(1000, 100), torch.randn(100, 1000), prefix(1000))
    few = Download({"fc": Factors(whole.a[:2], whole.b[:, :2], prefix(2))}, {})
    assert len(pack(TrainTask(ID, few, 0.1))) < 4 * 2 * 200 + 1000


def test_eight_bits_a_number_come_out_as_they_went_in_and_are_as_few_on_the_wire():
    """The header has less than 1,500 bytes."""
    factors = Factors(torch.randn(8, 784), torch.randn(200, 8), prefix(8))
    extras = {"head": torch.randn(10, 200), "bias": torch.randn(10)}
    small = packed({"fc": factors}, extras)
    download = Download(small.adapter, small.extras, None, small.scales)
    update = Update(ID, small.adapter, small.extras, 5.0, 1.0, scales=small.scales)
    bits = 8 * (784 + 200) + 10 * 200 + 4 * (8 + 8 + 10 + 10)
    assert download.nbytes == update.nbytes == bits
    task = TrainTask(ID, download, 0.1, compression="int8")
    for message, whole, few in (
        (task, TrainTask(ID, Download({"fc": factors}, extras), 0.1), download),
        (update, Update(ID, {"fc": factors}, extras, 5.0, 1.0), update),
    ):
        assert bits < len(pack(message)) < bits + 1500
        assert len(pack(whole)) > 3.5 * len(pack(message))
        came = unpack(pack(message))
        came = came if isinstance(came, Update) else came.download
        assert came.nbytes == few.nbytes
        assert came.scales.keys() == small.scales.keys()
        assert all(torch.equal(came.scales[n], t) for n, t in small.scales.items())
        assert torch.equal(came.adapter["fc"].b, small.adapter["fc"].b)
        assert torch.equal(came.extras["head"], small.extras["head"])
    assert unpack(pack(task)).compression == "int8"
