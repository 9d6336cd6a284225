from pathlib import Path

import pytest

from polyrank.errors import SettingsError
from polyrank.settings.toml import changed_keys, dump_settings, load_settings, make_settings


def from_text(tmp_path, text, overrides=()):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_settings(path, overrides)


def test_a_file_with_nothing_in_it_is_all_defaults_and_named_after_the_file(tmp_path):
    settings = from_text(tmp_path, "")
    assert settings.name == "mine"
    assert settings.training.epochs == 5


def test_the_recipe_is_safe_with_the_default_and_as_published_with_every_other_aggregator(tmp_path):
    silent, named = from_text(tmp_path, ""), from_text(tmp_path, 'aggregator = "rbla"')
    assert (silent.aggregator.kind, named.aggregator.kind) == ("anchored", "rbla")
    assert silent.server_optimizer.model_dump() == {"kind": "fedavgm", "momentum": 0.5}
    assert (silent.average, named.average) == (0.8, 0.0)
    assert (silent.recipe, named.recipe) == ("safe", "paper")
    assert named.server_optimizer.model_dump() == {"kind": "none"}
    assert (silent.training.clip_norm, named.training.clip_norm) == (10.0, 0.0)
    steep = from_text(tmp_path, 'aggregator = "rbla"\n[training]\nlearning_rate = 0.5')
    assert (steep.training.learning_rate, steep.training.clip_norm) == (0.5, 0.0)
    plain = from_text(tmp_path, 'server_optimizer = "none"')
    assert (plain.aggregator.kind, plain.server_optimizer.kind) == ("anchored", "none")
    assert plain.average == 0.8
    assert from_text(tmp_path, dump_settings(named)) == named


def test_a_recipe_that_is_written_holds_for_any_aggregator_and_any_key_wins_over_it():
    ours = make_settings({"recipe": "paper"})
    assert (ours.aggregator.kind, ours.server_optimizer.kind, ours.average) == (
        "anchored",
        "none",
        0,
    )
    assert ours.training.clip_norm == 0
    bound = {"aggregator": "rbla", "training": {"clip_norm": 2.0}}
    assert make_settings(bound).training.clip_norm == 2.0
    helped = make_settings({"aggregator": "rbla", "recipe": "safe", "average": 0.3})
    assert helped.training.clip_norm == 10.0
    assert helped.server_optimizer.model_dump() == {"kind": "fedavgm", "momentum": 0.5}
    assert helped.average == 0.3
    other = make_settings({"server_optimizer": "fedadam"})
    assert other.server_optimizer.model_dump() == {"kind": "fedadam"}
    sliced = make_settings({"aggregator": {"kind": "anchored", "view": "slice"}})
    assert (sliced.recipe, sliced.average) == ("safe", 0.8)


def leaves(table, path=()):
    """Yield the path and the value of every key, and of every table as a whole."""
    for key, value in table.items():
        yield (*path, key), value
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


BASES = [
    {},
    {"aggregator": "rbla"},
    {"recipe": "paper"},
    {"aggregator": "rbla", "recipe": "safe"},
    {"server_optimizer": "fedadam", "partition": {"kind": "iid", "clients": 3}},
]


@pytest.mark.parametrize("base", BASES, ids=str)
def test_writing_out_any_default_alone_or_all_together_changes_nothing(base):
    silent = make_settings(base)
    written = silent.model_dump(exclude_none=True)
    assert make_settings(written) == silent
    keys = [".".join(path) for path, _ in leaves(written)]
    assert {"recipe", "average", "server_optimizer.kind", "partition.clients"} <= {*keys}
    for path, value in leaves(written):
        document = {key: {**v} if isinstance(v, dict) else v for key, v in base.items()}
        place = document
        for table in path[:-1]:
            inner = place.get(table, {})
            place[table] = place = {"kind": inner} if isinstance(inner, str) else {**inner}
        place[path[-1]] = value
        assert make_settings(document) == silent, ".".join(path)


def test_written_settings_are_read_back_the_same(tmp_path):
    text = """
    partition = { kind = "dirichlet", clients = 3, concentration = 0.1 }
    model = "mlp"
    [ranks]
    budget = 4
    caps = { "0" = 2 }
    """
    settings = from_text(tmp_path, text)
    assert settings.partition.options == {"concentration": 0.1}
    again = from_text(tmp_path, dump_settings(settings))
    assert again == settings
    assert changed_keys(settings, again) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "training.optimizer = 'adm'",
            r"mine\.toml: training\.optimizer: .*sgd.*got 'adm'.*'adam'",
        ),
        ("training.epocs = 3", r"unknown key training\.epocs = 3 \(did you mean 'epochs'\?\)"),
        ("round = 3", r"unknown key round = 3 \(did you mean 'rounds'\?\)"),
        ("rounds = 0", r"rounds: expected a number greater than 0, got 0 \(Rounds in all\.\)"),
        ("rounds = 'ten'", r"rounds: expected a valid integer.*, got 'ten'"),
        ("ranks = 3", r"ranks: expected a table, got 3 \(Range, budget and caps of the ranks\.\)"),
        (
            "criteria = 3",
            r"criteria: expected a valid list, got 3 \(What is measured of each client",
        ),
        (
            "training.epochs = 0.5",
            r"training\.epochs: expected .*, got 0\.5 \(Passes over its rows",
        ),
        (
            "data.normalise = { mean = 0.1, std = 0 }",
            r"data\.normalise\.std\.0: expected a number greater than 0, got 0",
        ),
        (
            "data.normalise = { mean = [0.1, nan], std = 0.3 }",
            r"data\.normalise\.mean\.1: expected a finite number, got nan",
        ),
        ("data.normalise = { mean = 0.1 }", r"data\.normalise\.std is required"),
        ("data.normalise = { mean = [], std = 1 }", r"data\.normalise\.mean: .*at least 1 item"),
        ("data.normalise = 0.1", r"data\.normalise: expected a table, got 0\.1"),
        (
            "adapter.scaling = { alpha = 2.0, per = 'ranks' }",
            r"adapter\.scaling\.per: .*rank, sqrt_rank, got 'ranks' \(did you mean 'rank'",
        ),
        ("adapter.scaling = 0", r"adapter\.scaling\.alpha: expected .* greater than 0, got 0"),
        ("adapter.scaling = inf", r"adapter\.scaling\.alpha: expected a finite number, got inf"),
        ("adapter.scaling = 'rank'", r"adapter\.scaling: expected a table, got 'rank'"),
        ("adapter.modules.fc1.r = 2", r"unknown key adapter\.modules\.fc1\.r"),
        ("adapter.lora_alpha = 2", r"unknown key adapter\.lora_alpha .*per = \"rank\""),
        ("aggregator = 'rlba'", r"unknown aggregator 'rlba' \(did you mean 'rbla'\?\)"),
        ("criteria = ['label_entropie']", r"label_entropy"),
        ("[ranks]\nr_min = 9\nr_max = 3", r"ranks: r_min 9 is larger than r_max 3"),
        ("[ranks]\nbudget = { mean_rank = 1, bytes = 2 }", r"exactly one of"),
        ("[training]\noptimizer = 'adam'\nmomentum = 0.9", r"momentum belongs to optimizer 'sgd'"),
        ("cohort_size = 2\ncohort_fraction = 0.5", r"not both"),
        ("pretrain = { epochs = 3 }", r"pretrain\.share is required"),
        ("rounds = ", r"mine\.toml: not valid TOML"),
        ("name = ''", r"name: expected a name for the run's folder: 1 to 200 bytes.*, got ''"),
        ("name = '../esc'", r"name: .* no slash.*got '\.\./esc'"),
        ("name = '..'", r"name: .* no dot or space at either end, got '\.\.'"),
        ("name = 'a\\b'", r"name: .*backslash"),
        ('name = "a\\u001b[31m"', r"name: .*control character.*got 'a\\x1b\[31m'"),
        (f"name = '{'ä' * 101}'", r"1 to 200 bytes"),
        ("cohort_size = 11", r"cohort_size = 11: expected at most .* clients, which is 10"),
        ("quorum = 11", r"quorum = 11: expected at most .* which are 10 of 10"),
        ("quorum = 4\ncohort_size = 3", r"quorum = 4: expected at most .* which are 3 of 10"),
        ("quorum = 6\ncohort_fraction = 0.5", r"quorum = 6: .* which are 5 of 10"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_allowed(tmp_path, text, said):
    with pytest.raises(SettingsError, match=said):
        from_text(tmp_path, text)


def test_every_wrong_key_is_named_at_once(tmp_path):
    with pytest.raises(SettingsError) as caught:
        from_text(tmp_path, "rounds = 0\nseeds = 3")
    assert len(str(caught.value).splitlines()) == 2


def test_overrides_are_toml_or_text_and_reach_into_shorthands(tmp_path):
    settings = from_text(
        tmp_path,
        "partition = 'iid'\ndata = 'digits'",
        ["partition.clients=4", "training.epochs=7", "aggregator=zero_padding", "data.test=0.3"],
    )
    assert settings.partition.clients == 4
    assert settings.training.epochs == 7
    assert settings.aggregator.kind == "zero_padding"
    assert (settings.data.source, settings.data.test) == ("digits", 0.3)


@pytest.mark.parametrize("text", ["epochs", "=3", "seed.deep=3"])
def test_overrides_of_another_form_are_refused(tmp_path, text):
    said = f"setting '{text}': expected key=value|setting 'seed.deep': 'seed' is 1"
    with pytest.raises(SettingsError, match=said):
        from_text(tmp_path, "seed = 1", [text])


@pytest.mark.parametrize("text", ["criteria=[label_count]", "model={kind=mlp}"])
def test_a_list_whose_quotes_the_shell_took_is_told_how_to_be_written(tmp_path, text):
    with pytest.raises(SettingsError, match=r"need quotes.* --set 'criteria=\[\"label_count\"\]'"):
        from_text(tmp_path, "", [text])


def test_a_run_may_be_called_whatever_a_folder_can():
    for name in ("a", "lr=0.01, seed 3 (again)", "häuser", "v1.2", "<x>", "ä" * 100):
        assert make_settings({"name": name}).name == name


def test_the_quorum_may_be_the_whole_cohort():
    document = {"cohort_size": 10, "quorum": 10, "partition": {"kind": "iid", "clients": 10}}
    assert make_settings(document).cohort(10) == 10
    assert make_settings({"partition": "natural", "cohort_size": 99}).cohort_size == 99


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "none.toml")


def test_changed_keys_are_dotted():
    old = make_settings({"training": {"epochs": 3}})
    new = make_settings({"training": {"epochs": 4}, "workers": 2})
    assert sorted(changed_keys(old, new)) == ["training.epochs", "workers"]


def test_a_path_is_a_text_wherever_it_stands():
    settings = make_settings(
        {"model": {"kind": "mlp", "folder": Path("a/b")}, "data": Path("x.csv")}
    )
    assert settings.model.options == {"folder": "a/b"}
    assert 'source = "x.csv"' in dump_settings(settings)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"adapter": {"modules_to_save": ["head"]}},
            r"modules_to_save.*here it is adapter\.extras",
        ),
        ({"adapter": {"target_modules": "all"}}, r"target_modules.*here it is adapter\.targets"),
        ({"probe": {"epochs": 3}}, r"probe\.epochs = 3 \(here it is probe\.steps: a probe"),
        ({"training": {"bf16": True}}, r"bf16.*here it is training\.autocast"),
    ],
)
def test_names_of_peft_and_transformers_are_answered_with_ours(document, said):
    with pytest.raises(SettingsError, match=said):
        make_settings(document)
