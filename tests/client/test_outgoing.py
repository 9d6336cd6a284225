"""What of a training is sent in eight bits, and what is left for the next time."""

from dataclasses import replace

import pytest
import torch

from polyrank.aggregators.aggregator import ServerModel
from polyrank.client.outgoing import outgoing, owes
from polyrank.lora.factors import ALL, A, B, Factors
from polyrank.lora.int8 import packed
from polyrank.protocol.messages import ChangeRule, Download, TaskId, TrainTask, Update
from polyrank.server.opening import opened


def draw(slots: torch.Tensor, seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(len(slots), 9, generator=generator)
    return Factors(a, torch.randn(7, len(slots), generator=generator), slots)


SLOTS = torch.tensor([0, 2, 3])
MODEL = ServerModel({"fc": draw(SLOTS, 0)}, {"head": torch.randn(3, 4), "bias": torch.randn(3)})
DOWN = packed(MODEL.adapter, MODEL.extras)
TASK = TrainTask(
    TaskId("r", 2, "c"),
    Download(DOWN.adapter, DOWN.extras, None, DOWN.scales),
    0.1,
    compression="int8",
)
BEFORE, BEGAN = TASK.download.opened()
STEP = draw(SLOTS, 1)


def after(size=0.01, step=STEP):
    before = BEFORE["fc"].take(step.slots)
    return {"fc": Factors(before.a + size * step.a, before.b + size * step.b, step.slots)}


EXTRAS = {n: t + 0.01 for n, t in BEGAN.items()}


def arrives(out, task=TASK):
    """What the server makes of what is sent."""
    sent = out.sent
    update = Update(task.id, sent.adapter, sent.extras, 5, 1.0, scales=sent.scales)
    return opened(update, task, MODEL)


def leaving(task=TASK, sends=ALL, trained=None, owed=None, keeps_slots=True):
    return outgoing(task, sends, BEFORE, trained or after(), EXTRAS, owed or {}, keeps_slots)


def test_the_server_learns_the_step_and_not_the_rounding_on_the_way_down():
    """The download is off by up to a hundredth of a slot's largest, the step by that of itself."""
    came = arrives(leaving())
    off = (came.adapter["fc"].a - MODEL.adapter["fc"].a - 0.01 * STEP.a).abs().max()
    assert off < 0.01 * STEP.a.abs().max() / 200
    assert (BEFORE["fc"].a - MODEL.adapter["fc"].a).abs().max() > 5 * off
    torch.testing.assert_close(came.extras["head"], MODEL.extras["head"] + 0.01)
    assert torch.equal(came.extras["bias"], EXTRAS["bias"])


def test_what_rounding_loses_is_owed_and_sent_the_next_time():
    """Of twenty steps that are the same nothing is missing in the end but the last rounding."""
    for feedback in (True, False):
        owed, total = {}, torch.zeros(3, 9)
        for _ in range(20):
            made = leaving(owed=owed if feedback else {})
            owed = made.owed
            total += made.sent.opened()[0]["fc"].a
        off = (total - 20 * 0.01 * STEP.a).abs().max() / (0.01 * STEP.a.abs().max())
        assert (off < 0.005) == feedback


def test_slots_that_do_not_stay_what_they_are_are_owed_nothing():
    assert leaving(keeps_slots=False).owed == {}
    assert not owes(TASK, keeps_slots=False)
    assert owes(TASK, keeps_slots=True)
    assert not owes(replace(TASK, compression="none"), keeps_slots=True)


def test_what_is_owed_goes_by_the_number_of_the_slot():
    """Of slots 0, 2 and 3 the client now has 2 and 3; what it owes of 2 is 1, of 5 it is 9."""
    owed = Factors(torch.tensor([[1.0], [9.0]]).expand(2, 9), torch.zeros(7, 2), SLOTS[1:] + 0)
    owed = replace(owed, slots=torch.tensor([2, 5]))
    two = SLOTS[1:]
    still = after(0.0, draw(two, 1))
    sent = leaving(trained=still, owed={"fc": owed}).sent.opened()[0]["fc"]
    torch.testing.assert_close(sent.a, torch.tensor([[1.0], [0.0]]).expand(2, 9))


def test_what_is_owed_of_a_factor_that_rests_waits_for_its_turn():
    """As RoLoRA's clients send b and a in turn; nothing is owed of what is never sent."""
    first = leaving(sends=B)
    second = leaving(sends=A, owed=first.owed)
    assert first.owed["fc"].b.any()
    assert not first.owed["fc"].a.any()
    assert torch.equal(second.owed["fc"].b, first.owed["fc"].b)
    assert second.sent.adapter["fc"].b.shape == (0, 3)


@pytest.mark.parametrize("error", [0.0, 0.5])
def test_a_change_and_what_is_owed_of_it_are_together_what_was_trained(error):
    """Cut and rounded: what arrives and what is left make up the change of the product."""
    task, trained = replace(TASK, change=ChangeRule(error)), after(0.3)
    made = leaving(task=task, trained=trained)
    came, left = made.sent.opened()[0]["fc"], made.owed["fc"]
    new, old = trained["fc"], BEFORE["fc"]
    whole = new.b @ new.a - old.b @ old.a
    assert came.rank < 6 or not error
    torch.testing.assert_close(came.b @ came.a + left.b @ left.a, whole, atol=1e-5, rtol=0)
    again = leaving(task=replace(task, last=1), trained=BEFORE, owed=made.owed)
    assert again.sent.adapter["fc"].rank > 0


def test_without_compression_the_trained_numbers_themselves_are_sent():
    task = TrainTask(TASK.id, Download(MODEL.adapter, MODEL.extras), 0.1)
    made, trained = leaving(task=task), after()
    sent = outgoing(task, A, BEFORE, trained, EXTRAS, {}, True).sent
    assert sent.scales == {}
    assert sent.adapter["fc"].a is trained["fc"].a
    assert sent.adapter["fc"].b.shape == (0, 3)
    assert made.sent.extras is EXTRAS
    assert made.owed == {}
