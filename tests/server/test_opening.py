"""What the server makes of an update that came in eight bits."""

from dataclasses import replace

import torch

from polyrank.aggregators.aggregator import ServerModel
from polyrank.lora.factors import Factors, prefix
from polyrank.lora.int8 import packed
from polyrank.protocol.messages import ChangeRule, Download, TaskId, TrainTask, Update
from polyrank.server.opening import opened

ID = TaskId("r", 1, "c")
E = torch.tensor([[3.0], [4.0]])
MODEL = ServerModel(
    {"fc": Factors(torch.randn(5, 3), torch.randn(4, 5), prefix(5), torch.ones(5, 1))},
    {"head": torch.randn(2, 3), "bias": torch.ones(2)},
)


def sent(slots: torch.Tensor) -> tuple[TrainTask, Update]:
    """A client that has added 1 to a and the head, 0 to b, and says what e and bias are."""
    step = Factors(torch.ones(len(slots), 3), torch.zeros(4, len(slots)), slots, E)
    small = packed({"fc": step}, {"head": torch.ones(2, 3), "bias": torch.zeros(2)})
    task = TrainTask(ID, Download({}, {}), 0.1, compression="int8")
    return task, Update(ID, small.adapter, small.extras, 5, 1.0, scales=small.scales)


def test_differences_are_added_to_the_servers_own_slots_and_the_rest_is_taken_as_it_is():
    slots = torch.tensor([1, 4])
    task, update = sent(slots)
    whole, own = opened(update, task, MODEL), MODEL.adapter["fc"].take(slots)
    torch.testing.assert_close(whole.adapter["fc"].a, own.a + 1)
    assert torch.equal(whole.adapter["fc"].b, own.b)
    assert torch.equal(whole.adapter["fc"].e, E)
    torch.testing.assert_close(whole.extras["head"], MODEL.extras["head"] + 1)
    assert torch.equal(whole.extras["bias"], torch.zeros(2))
    assert whole.scales == {}


def test_a_change_of_the_product_is_taken_as_it_is_and_the_head_is_a_difference():
    task, update = sent(prefix(2))
    task = replace(task, change=ChangeRule(0.2))
    whole = opened(update, task, MODEL)
    torch.testing.assert_close(whole.adapter["fc"].a, torch.ones(2, 3))
    torch.testing.assert_close(whole.extras["head"], MODEL.extras["head"] + 1)


def test_an_update_in_full_is_not_touched():
    task, update = sent(prefix(2))
    update = replace(update, scales={})
    assert opened(update, task, MODEL) is update
