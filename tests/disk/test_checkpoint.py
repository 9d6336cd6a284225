import torch

from polyrank.disk.checkpoint import ClientStore
from polyrank.lora.factors import Factors, prefix

NAMES = ("a", "a/b", "a_b", "a.1", "ü b", "../a")


def kept(store, client, round):
    adapter, _ = store.load(client, round)
    return float(adapter["fc"].a[0, 0])


def saved(folder):
    """Each client's model of rounds 1 to 3, told by its number; bases of versions 0 to 3."""
    store = ClientStore(folder)
    for place, client in enumerate(NAMES):
        for round in (1, 2, 3):
            a = torch.full((1, 1), 10.0 * place + round)
            store.save(client, round, {"fc": Factors(a, a.clone(), prefix(1))}, {})
    for version in range(4):
        store.save_base(version, {"fc": torch.full((1, 1), float(version))})
    return store


def test_clients_of_any_name_have_files_of_their_own(tmp_path):
    store = saved(tmp_path / "clients")
    found = [[kept(store, client, round) for round in (1, 2, 3)] for client in NAMES]
    assert found == [[10.0 * place + round for round in (1, 2, 3)] for place in range(len(NAMES))]
    assert [path.name for path in tmp_path.iterdir()] == ["clients"]


def test_what_stays_is_each_client_s_last_model_and_the_base_that_it_trained_on(tmp_path):
    store = saved(tmp_path)
    trained = {"a": 3, "a/b": 1, "a_b": 3}
    store.keep_only(trained)
    assert [kept(store, client, round) for client, round in trained.items()] == [3.0, 11.0, 23.0]
    assert float(store.load_base(2)["fc"]) == 2.0
    assert float(store.load_base(0)["fc"]) == 0.0
    assert len(list(tmp_path.iterdir())) == 5
