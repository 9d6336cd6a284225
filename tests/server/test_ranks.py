import pytest

from polyrank.lora.shapes import ModuleShape
from polyrank.runs.preparation import prepare
from polyrank.server.ranks import RankChooser
from tests.small import small


@pytest.fixture(scope="module")
def shapes() -> dict[str, ModuleShape]:
    return dict(prepare(small(), None).server.shapes)  # fc1: 64 to 16, fc2: 16 to 10


@pytest.mark.parametrize(
    ("ranks", "said"),
    [
        ({"r_max": 16}, []),
        ({"r_max": 17}, ["ranks.r_max = 17 is cut to 16"]),
        ({"r_max": 17, "modules": {"fc1": {"r_max": 9}}}, ["ranks.r_max = 17 is cut to 10"]),
        ({"modules": {"fc2": {"r_max": 11}}}, ["ranks.modules.fc2.r_max = 11 is cut to 10"]),
        ({"r_max": 16, "budget": 13}, []),
        ({"r_max": 16, "budget": 14}, ["a budget of 14 (mean_rank) cannot be spent"]),
    ],
)
def test_what_cannot_be_used_is_noted(shapes, ranks, said):
    notes = RankChooser(small(ranks=ranks), ["a", "b"], shapes).notes
    assert len(notes) == len(said)
    for note, start in zip(notes, said, strict=True):
        assert note.startswith(start)


def test_ranks_by_hand_are_not_cut(shapes):
    settings = small(ranks={"r_max": 99}, allocator={"kind": "ratio", "ratios": [1.0]})
    assert RankChooser(settings, ["a", "b"], shapes).notes == []
