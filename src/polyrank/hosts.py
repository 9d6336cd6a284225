"""The commands of a federation on several machines: provision, serve, join, sites."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from polyrank.errors import SettingsError
from polyrank.plain import plain

Kit = Annotated[Path, typer.Argument(help="Folder that polyrank provision has made.")]


def provision(
    hosts: Annotated[Path, typer.Argument(help="TOML: server, port, sites, days.")],
    out: Annotated[Path, typer.Option(help="Folder for the kits.")],
    request: Annotated[
        list[Path] | None,
        typer.Option(help="Of a site that has made its own key: its request for a certificate."),
    ] = None,
) -> None:
    """Make a kit for each host of a federation: keys, certificates and policies."""
    kits = _engine("kits")
    for kit in kits.make_kits(kits.Hosts.read(hosts), out, request or []):
        needs = "" if kit.key.exists() else f"; its key belongs to {kit.key}, mode 0600"
        _say(f"written: {kit.path} ({kit.kind} {kit.name}){needs}")


def serve(
    kit: Kit,
    runs: Annotated[Path | None, typer.Option(help="Folder for runs; else in the kit.")] = None,
) -> None:
    """Run the server of a federation on this host, until Ctrl-C."""
    _engine("hosting").serve(kit, runs, _say)


def join(
    kit: Kit,
    data: Annotated[str, typer.Option(help="This client's rows: a file, as data.source has it.")],
    model_dir: Annotated[
        Path | None, typer.Option(help="Folder of the pre-trained model; else by its name.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; else the run's.")] = None,
    cap: Annotated[int | None, typer.Option(min=1, help="Largest rank it trains.")] = None,
    least_rows: Annotated[
        int, typer.Option(min=1, help="Fewest training rows with which it takes part.")
    ] = 1,
    memory: Annotated[
        int | None, typer.Option(min=1, help="Megabytes that base and adapter may need.")
    ] = None,
    criteria: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Those it measures, or none; else any.")
    ] = None,
    tells: Annotated[
        str, typer.Option(metavar="NAME,...", help="What it tells of its rows, or none.")
    ] = "examples,label_counts",
    no_head_sums: Annotated[
        bool, typer.Option("--no-head-sums", help="Sum up no features for a starting head.")
    ] = False,
) -> None:
    """Take part in a federation with the data of this host, until Ctrl-C."""
    from polyrank.client.agreement import Agreement, names_in

    agreement = Agreement(
        client="",
        store="",
        data=str(Path(data).absolute()) if Path(data).exists() else data,
        tells=names_in(tells, "--tells", ("examples", "label_counts")),
        device=device,
        model=str(model_dir.absolute()) if model_dir else None,
        cap=cap,
        least_rows=least_rows,
        criteria=None if criteria is None else names_in(criteria, "--criteria"),
        head_sums=not no_head_sums,
        megabytes=memory,
    )
    agreement, lines = _engine("joining").checked(agreement)
    for line in lines:
        _say(line)
    _engine("hosting").join(kit, agreement, _say)


def sites(
    kit: Kit, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the clients of a federation, with an admin's kit."""
    found = _engine("listing").sites(kit)
    if as_json:
        typer.echo(plain(json.dumps(found)))
        return
    for site in found:
        _say("  ".join(f"{value}" for value in site.values() if value))


def _say(line: str) -> None:
    typer.echo(plain(line))


def _engine(module: str) -> Any:  # noqa: ANN401 - a module
    """Import a module of the engine between machines.

    Raises:
        SettingsError: NVFlare is not installed.
    """
    if find_spec("nvflare") is None:
        raise SettingsError("expected NVFlare: pip install 'polyrank[nvflare]'")
    return import_module(f"polyrank.engines.nvflare.{module}")
