from polyrank.record.lines import Traffic
from polyrank.record.round_lines import line_of_round, lines_of_updates
from polyrank.server.round_record import RoundRecord, Turn

TURNS = (
    Turn("a", down=10, up=4, examples=30, loss=1.0, steps=3),
    Turn("b", down=20, up=5, examples=10, loss=2.0, steps=2),
    Turn("c", down=40, up=6, examples=90, loss=9.0, steps=1, refused="too many"),
    Turn("d", down=80, failed="away"),
    Turn("e", down=160, up=7, examples=50, loss=None, steps=4),
)
RECORD = RoundRecord(3, TURNS)


def test_the_training_loss_is_that_of_the_examples_whose_updates_were_taken():
    """(30 * 1 + 10 * 2) / 40; c was refused, and e has none that is finite."""
    assert line_of_round(RECORD, None).train_loss == 1.25
    assert line_of_round(RoundRecord(0), None).train_loss is None


def test_what_was_sent_and_trained_counts_also_where_it_was_not_taken():
    line = line_of_round(RECORD, {"up": 100, "down": 1000, "steps": 7})
    assert line.bytes == Traffic(up=4 + 5 + 6 + 7 + 100, down=310 + 1000)
    assert (line.steps, line.probe_steps) == (3 + 2 + 1 + 4 + 7, 7)


def test_refused_and_failed_clients_are_told_apart_and_have_no_update():
    line = line_of_round(RECORD, None)
    assert [(x.client, x.reason) for x in line.refused] == [("c", "too many")]
    assert [(x.client, x.reason) for x in line.failed] == [("d", "away")]
    assert line.cohort == list("abcde")
    assert [x.client for x in lines_of_updates(RECORD)] == ["a", "b", "e"]
