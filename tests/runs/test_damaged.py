"""Whatever a run folder holds, it works or is answered by a named error."""

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

import polyrank
from polyrank.disk.checkpoint import load_tensors, save_tensors
from polyrank.errors import PolyRankError, RunFolderError, SettingsError
from polyrank.record.run_folder import RunFolder
from polyrank.report import read_run, write_report
from polyrank.report.live import LiveServer, watched
from polyrank.runs.evaluation import evaluate
from polyrank.runs.export import export
from polyrank.settings.toml import load_settings, make_settings
from tests.small import small

RECORDS = ["rounds.jsonl", "clients.jsonl", "timings.jsonl", "summary.json"]
ODD = [None, -1, 0, 1e308, 10**400, "x", "", [], {}, True, [None], {"a": None}, "\ud800", 0.5]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data = {"source": "digits", "test": 0.8}
    settings = small(data=data, rounds=1, partition={"clients": 3}, average=0.5)
    return polyrank.run(settings, out=tmp_path_factory.mktemp("damaged") / "run").folder


def use(folder: Path) -> None:
    """Do with a run folder all that a person may do with it; named errors are good."""
    uses = [
        lambda: write_report([folder], folder.parent / "page.html"),
        lambda: write_report([folder, folder], folder.parent / "page.html"),
        lambda: evaluate(folder, client="0"),
        lambda: export(folder, folder.parent / "out"),
        lambda: polyrank.resume(folder, overrides=["rounds=1"]),
    ]
    for one in uses:
        with suppress(PolyRankError):
            one()
        if (folder.parent / "out").exists():
            shutil.rmtree(folder.parent / "out")


def places(value, path=()):
    """Yield the path of everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in inner:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def changed(document, draw):
    """Change, remove or add something in a JSON document."""
    path = draw.choice(list(places(document)))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    if draw.random() < 0.3:
        del inner[path[-1]]
    else:
        inner[path[-1]] = draw.choice(ODD)
    return document


def with_other_bytes(path: Path, draw) -> None:
    data = bytearray(path.read_bytes())
    at = draw.randrange(len(data))
    how = draw.randrange(4)
    if how == 0:
        data[at] ^= 1 << draw.randrange(8)
    elif how == 1:
        del data[at:]
    elif how == 2:
        data[at:at] = draw.randbytes(draw.randrange(1, 50))
    else:
        data[at:] = b"[" * 3000
    path.write_bytes(data)


def with_other_fields(path: Path, draw) -> None:
    if path.suffix == ".json":
        path.write_text(json.dumps(changed(json.loads(path.read_text()), draw)))
        return
    lines = path.read_text().splitlines()
    at = draw.randrange(len(lines))
    lines[at] = json.dumps(changed(json.loads(lines[at]), draw))
    path.write_text("\n".join(lines) + "\n")


def with_another_header(path: Path, draw) -> None:
    """Write a file whose hash is right and whose contents are not."""
    tensors, header = load_tensors(path)
    if header and draw.random() < 0.7:
        header = changed(header, draw)
    else:
        name = draw.choice(list(tensors))
        tensor = tensors.pop(name)
        if draw.random() < 0.5:
            tensors[name] = tensor.flatten()[:1]
    save_tensors(path, tensors, header)


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_folder_that_was_tampered_with_never_ends_in_a_traceback(run, tmp_path, seed):
    draw = random.Random(seed)
    files = sorted(p for p in run.rglob("*") if p.is_file() and p.stat().st_size)
    tensors = [p for p in files if p.suffix == ".safetensors"]
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    change, among = draw.choice(
        [
            (with_other_bytes, files),
            (with_other_fields, [run / name for name in RECORDS]),
            (with_another_header, tensors),
        ]
    )
    change(folder / draw.choice(among).relative_to(run), draw)
    use(folder)


def garbage(name):
    """Return what stands in a file that is none of ours."""
    return {
        "nothing": b"",
        "bytes": bytes(range(256)),
        "deep": b"[" * 100_000,
        "list": b"[1]\n",
        "number": b"1\n",
        "null": b"null\n",
        "empty": b"{}\n",
        "events": b'{"event": ["final"], "round": 0}\n{"event": {}}\n',
        "large": b'{"round": 1' + b"0" * 5000 + b"}\n",
        "half": b'{"round": 0, "client": "\\ud800"}\n',
    }[name]


KINDS = ["nothing", "bytes", "deep", "list", "number", "null", "empty", "events", "large", "half"]


@pytest.mark.parametrize("content", KINDS)
@pytest.mark.parametrize("name", RECORDS)
def test_garbage_in_records_is_named_or_left_out(run, tmp_path, name, content):
    folder = tmp_path / "run"
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoint"))
    (folder / name).write_bytes(garbage(content))
    with suppress(RunFolderError):
        write_report([folder], tmp_path / "page.html")
    with suppress(RunFolderError):
        RunFolder(folder).read_rounds()
    with suppress(RunFolderError):
        RunFolder(folder).read_clients()
    with suppress(RunFolderError):
        RunFolder(folder).cut(9, {})
    with suppress(RunFolderError):
        RunFolder(folder).read_summary()


def test_the_file_and_the_line_are_named(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "rounds.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n[" + "[" * 3000 + "\n")
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl, line 2: not JSON"):
        read_run(tmp_path / "run")
    with pytest.raises(RunFolderError, match=r"rounds\.jsonl, line 2: not JSON"):
        RunFolder(tmp_path / "run").read_rounds()


@pytest.mark.parametrize("place", ["", "checkpoint", "checkpoint/clients"])
def test_odd_files_in_a_folder_are_no_matter(run, tmp_path, place):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    for name in ("odd", ".odd.tmp", "round-000009.safetensors", "base.7", "x\n.1.safetensors"):
        (folder / place / name).mkdir()
        (folder / place / f"{name}2").write_bytes(b"odd")
    (folder / place / "loop").symlink_to(folder)
    done = polyrank.resume(folder, overrides=["rounds=2"])
    assert done.summary["rounds"] == 2
    assert export(folder, tmp_path / "out", client="0").exists()


def test_a_page_that_is_watched_says_what_is_wrong(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "clients.jsonl").write_bytes(garbage("deep") + b"\n")
    said = []
    with watched(tmp_path / "run", 0, said.append) as server:
        assert isinstance(server, LiveServer)
        _, (status, page) = server.page()
    assert status == 500
    assert b"clients.jsonl, line 1: not JSON" in page
    assert "clients.jsonl, line 1: not JSON" in said[0]


DEEP = ["a." * 2000 + "b = 1", "a = " + "[" * 2000, "[a" + ".a" * 2000 + "]"]


@pytest.mark.parametrize("text", DEEP)
def test_settings_nested_too_deeply_are_a_named_error(tmp_path, text):
    (tmp_path / "deep.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"deep\.toml: .*at most 20 deep"):
        load_settings(tmp_path / "deep.toml")
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(SettingsError, match="at most 20 deep"):
        polyrank.resume(tmp_path)
    (tmp_path / "fine.toml").write_text("")
    key = text.replace("[a", "a").replace("]", "=1").replace(" ", "")
    with pytest.raises(SettingsError, match="at most 20 deep"):
        load_settings(tmp_path / "fine.toml", [key])


def test_a_mapping_nested_too_deeply_is_a_named_error():
    inner = {}
    for _ in range(5000):
        inner = {"a": inner}
    with pytest.raises(SettingsError, match="at most 20 deep"):
        make_settings({"partition": {"kind": "iid", "x": inner}})


def test_a_data_file_nested_too_deeply_is_a_named_error(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": ' + "[" * 3000 + "\n")
    with pytest.raises(PolyRankError, match="line 1: not valid JSON"):
        polyrank.datasets.load(str(tmp_path / "x.jsonl"), seed=0)
