import polyrank
from tests.small import small


def test_tensorboard_gets_the_metrics_and_changes_no_bit(tmp_path):
    plain = polyrank.run(small(rounds=1), out=tmp_path / "plain")
    tracked = polyrank.run(small(rounds=1, trackers=["tensorboard"]), out=tmp_path / "tracked")
    assert tracked.summary == plain.summary
    events = list((tmp_path / "tracked" / "trackers").rglob("events*"))
    assert events
    assert b"test/accuracy" in events[0].read_bytes()
