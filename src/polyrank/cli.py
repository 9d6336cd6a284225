"""The command ``polyrank``: each command parses, calls one function and prints."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from polyrank import hosts
from polyrank.causes import own_place, told
from polyrank.console.help_text import below
from polyrank.errors import PolyRankError, SettingsError
from polyrank.plain import Screen, plain

if TYPE_CHECKING:
    from polyrank.allocators.autorank import SpreadRule
    from polyrank.runs.result import Result


app = typer.Typer(
    name="polyrank",
    help="Federated LoRA fine-tuning in which every client gets its own rank.",
    epilog=below(""),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
Config = Annotated[Path, typer.Argument(help="Settings file (TOML).")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated."),
]
Client = Annotated[str | None, typer.Option(help="This client's own model.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port of the live view; else a free one.")
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Import and call code that the run's settings name."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]


def _version(wanted: bool) -> None:
    if wanted:
        from polyrank import __version__

        typer.echo(f"polyrank {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    """Take what belongs to no command."""


@app.command(epilog=below("run"))
def run(
    config: Annotated[Path | None, typer.Argument(help="Settings file (TOML).")] = None,
    settings: Set = None,
    out: Annotated[Path | None, typer.Option(help="Run folder, new or empty.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with the run in here.")] = None,
    control: Annotated[
        str | None,
        typer.Option(
            metavar="KIND", help="Run a control of it instead: alone, pooled, or uniform."
        ),
    ] = None,
    federation: Annotated[
        str | None,
        typer.Option(metavar="WHERE", help="local:N, N hosts on this machine, or an admin's kit."),
    ] = None,
    clients: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Those of the federation that take part.")
    ] = None,
    min_clients: Annotated[int, typer.Option(help="How many must have joined.")] = 1,
    watch: Annotated[bool, typer.Option("--watch", help="Show the page as it grows.")] = False,
    port: Port = None,
    trust: Trust = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a federation, or go on with an interrupted one; several seeds or methods: compare."""
    if (config is None) == (resume is None) or (resume and out):
        raise SettingsError("expected a settings file, with --out or not, or --resume DIR alone")
    if trust and not resume:
        raise SettingsError("expected --trust with --resume DIR; a settings file is trusted")
    if federation and resume:
        raise SettingsError("expected --federation with a settings file; a run folder has its own")
    if control and resume:
        raise SettingsError("expected --control with a settings file; a run folder has its own")
    if port is not None and not watch:
        raise SettingsError("expected --watch with --port")
    if watch and quiet and not port:
        raise SettingsError("expected --port with --watch --quiet, which prints no address")
    from polyrank import api
    from polyrank.console.progress import Shown, Silent, Watcher
    from polyrank.console.result_table import render
    from polyrank.settings import controls
    from polyrank.settings.toml import load_settings
    from polyrank.settings.trust import own_code

    loaded = load_settings(config, settings or []) if config else None
    if loaded and control:
        loaded = controls.control(loaded, control)

    def perform(watcher: Watcher) -> "Result":
        if loaded:
            return api.run(
                loaded,
                out=out,
                watcher=watcher,
                federation=federation,
                clients=clients.split(",") if clients else (),
                min_clients=min_clients,
            )
        return api.resume(resume or "", overrides=settings or [], watcher=watcher, trust=trust)

    console = Screen()
    if loaded:
        out = out or api.free_folder(Path("runs"), loaded.name)
    with _live_view((resume or out) if watch else None, port, quiet):
        try:
            if quiet or as_json:
                result = perform(Silent())
            else:
                with Shown(console) as watcher:
                    result = perform(watcher)
        except KeyboardInterrupt:
            word = " --trust" if trust or (loaded and own_code(loaded)) else ""
            _end(f"interrupted; go on with: polyrank run --resume {resume or out}{word}", 130)
        if as_json:
            typer.echo(json.dumps(result.summary))
        elif not quiet:
            render(result.folder, console)
        if as_json and watch and not quiet:
            typer.echo(f"report: {result.folder / 'report.html'}", err=True)


@app.command(epilog=below("compare"))
def compare(
    config: Config,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A,B,...", help="Arms: every value; the product if repeated."),
    ] = None,
    settings: Set = None,
    seeds: Annotated[
        str, typer.Option(metavar="N or N,N,...", help="How many seeds, or which.")
    ] = "3",
    out: Annotated[
        Path | None, typer.Option(help="Folder; with what was interrupted in it, goes on.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="ARM", help="The arm to compare with; else the first.")
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="On validation rows; else 0.95 of what that arm reaches.")
    ] = None,
    no_controls: Annotated[
        bool, typer.Option("--no-controls", help="Without one rank for all, alone, pooled.")
    ] = False,
    no_tune: Annotated[
        bool, typer.Option("--no-tune", help="Take the learning rate as it is given.")
    ] = False,
    tune_seeds: Annotated[
        int, typer.Option(metavar="N", help="Seeds with which each learning rate is tried.")
    ] = 1,
    jobs: Annotated[int, typer.Option(help="Runs at a time, a process each.")] = 1,
    flops: Annotated[
        str | None,
        typer.Option(metavar="N[,N,...]", help="FLOP/s of clients' devices: one, or each."),
    ] = None,
    megabytes: Annotated[
        str | None, typer.Option(metavar="N[,N,...]", help="MB/s of their lines: one, or each.")
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run arms with the same seeds, partitions and start, and say what they differ by."""
    from polyrank.comparing.choices import varied
    from polyrank.comparing.compare import compare as made_of
    from polyrank.comparing.device_time import devices_of
    from polyrank.comparing.shown import show
    from polyrank.console.progress import Silent, WrittenOut

    console = Screen()
    out = out or _free(config)
    try:
        made = made_of(
            config,
            arms=varied(vary) if vary else None,
            seeds=_seeds(seeds),
            out=out,
            against=against,
            controls=not no_controls,
            tune=not no_tune,
            tune_seeds=tune_seeds,
            jobs=jobs,
            target=target,
            device_time=devices_of(flops, megabytes),
            overrides=settings or [],
            watcher=Silent() if quiet or as_json else WrittenOut(console),
        )
    except KeyboardInterrupt:
        _end(f"interrupted; the same command with --out {out} goes on", 130)
    if as_json:
        typer.echo(json.dumps(made.as_json()))
    elif not quiet:
        show(made, console)
    if made.failed:
        _end(f"{len(made.failed)} of {len(made.cells)} runs failed", 1)


def _free(config: Path) -> Path:
    from polyrank.api import free_folder

    return free_folder(Path("runs"), f"{config.stem}-compared")


def _seeds(given: str) -> int | list[int]:
    try:
        found = [int(part) for part in given.split(",")]
    except ValueError as error:
        raise SettingsError(
            f"--seeds {given!r}: expected how many, or whole numbers with commas between them, "
            "such as 0,1,2"
        ) from error
    return found if "," in given else found[0]


@app.command(epilog=below("plan"))
def plan(
    context: typer.Context,
    clients: Annotated[
        Path, typer.Argument(help="CSV: client, criteria, perhaps max_rank; or a run folder.")
    ],
    r_min: Annotated[int, typer.Option(help="Smallest rank.")] = 4,
    r_max: Annotated[int, typer.Option(help="Largest rank.")] = 64,
    budget: Annotated[float | None, typer.Option(help="Mean rank, never exceeded.")] = None,
    weights: Annotated[
        str, typer.Option(help="critic, equal, or NAME=WEIGHT,NAME=WEIGHT,...")
    ] = "critic",
    cost: Annotated[
        list[str] | None, typer.Option(help="Column of which less means a higher rank.")
    ] = None,
    spread: Annotated[
        str, typer.Option(help="relative, or paper: all ranks however little clients differ.")
    ] = "relative",
    quiet: Quiet = False,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option(help="CSV to write: client, score, rank, reason.")
    ] = None,
) -> None:
    """Choose ranks for the clients of a CSV file, and say why, before anything is trained.

    Of a run folder whose ranks were found by need, say what ranks a next run needs.
    """
    if clients.is_dir():
        _plan_next(context, clients, quiet=quiet, as_json=as_json)
        return
    from polyrank.planning import rank_plan

    planned = rank_plan.plan(
        clients,
        r_min=r_min,
        r_max=r_max,
        budget=budget,
        criterion_weights=rank_plan.parse_weights(weights),
        cost_criteria=cost or [],
        spread=cast("SpreadRule", spread),
    )
    if out:
        planned.write_csv(out)
    if as_json:
        typer.echo(plain(planned.to_json()))
    elif not quiet:
        planned.render(Screen())
        if out:
            typer.echo(plain(f"written: {out}"))


def _plan_next(context: typer.Context, folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Say what ranks a run after the one in a folder needs; no option says anything of that."""
    from polyrank.planning.next_ranks import next_ranks

    for name in context.params.keys() - {"clients", "quiet", "as_json"}:
        source = context.get_parameter_source(name)
        if source and source.name != "DEFAULT":
            option = name.replace("_", "-")
            raise SettingsError(f"--{option}: expected with a CSV file, got it with a run folder")
    found = next_ranks(folder)
    if as_json:
        typer.echo(plain(found.to_json()))
    elif not quiet:
        found.render(Screen())


@app.command(epilog=below("partition"))
def partition(config: Config, settings: Set = None, as_json: Json = False) -> None:
    """Show how the settings split the data over clients."""
    from polyrank.planning import partition_table
    from polyrank.runs.loading import load_split
    from polyrank.settings.toml import load_settings

    data, splits = load_split(load_settings(config, settings or []))
    if as_json:
        typer.echo(json.dumps(partition_table.as_json(splits, data)))
    else:
        partition_table.print_partition(splits, data, Screen())


@app.command(epilog=below("export"))
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write, new or empty.")],
    client: Client = None,
    whole: Annotated[bool, typer.Option("--global", help="The global model.")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="Merge the adapter in.")] = False,
    pad_rank: Annotated[
        int | None, typer.Option(help="One rank for all modules, zero slots added, for vLLM.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", metavar="NAME", help="Its licence, for the card: apache-2.0."),
    ] = None,
    repo: Annotated[
        str | None,
        typer.Option(
            "--push-to-hub", metavar="OWNER/NAME", help="Send it to the Hugging Face hub."
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Make the new repository public.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent to the hub; send nothing.")
    ] = False,
    trust: Trust = False,
) -> None:
    """Write a trained adapter as a PEFT folder, or merged into its base."""
    if whole == (client is not None):
        raise SettingsError("expected either --client ID or --global")
    if (public or dry_run) and not repo:
        raise SettingsError("expected --push-to-hub OWNER/NAME with --public and --dry-run")
    from polyrank.runs import export as exporting
    from polyrank.runs import pushing

    if repo:
        pushing.check_repo(repo)
    written = exporting.export(
        run_folder,
        out,
        client=client,
        merge=merge,
        pad_rank=pad_rank,
        licence=licence,
        trust=trust,
    )
    typer.echo(plain(f"written: {written}"))
    if repo:
        pushed = pushing.push(written, repo, private=not public, dry_run=dry_run)
        typer.echo(plain(str(pushed)))


@app.command("eval", epilog=below("eval"))
def evaluate(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    data: Annotated[
        str | None, typer.Option(help="digits, npz:PATH, ...; else the run's own test rows.")
    ] = None,
    client: Client = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Evaluate a trained model on the run's test rows, or on other data."""
    from polyrank.runs import evaluation

    metrics = evaluation.evaluate(run_folder, data, client, trust=trust)
    if as_json:
        typer.echo(json.dumps(metrics))
    else:
        for name, value in metrics.items():
            typer.echo(f"{name:<18} {value:.4f}" if name != "rows" else f"{name:<18} {value:.0f}")


@app.command(epilog=below("report"))
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders.")],
    out: Annotated[Path | None, typer.Option(help="HTML file; else in the first run.")] = None,
) -> None:
    """Write one HTML page about one or several runs."""
    from polyrank.report import write_report

    typer.echo(f"written: {write_report(runs, out or runs[0] / 'report.html')}")


@app.command(epilog=below("watch"))
def watch(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    port: Port = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Show a run's page on this machine, renewed after each round, until Ctrl-C."""
    from polyrank.record.run_folder import RunFolder
    from polyrank.report.live import watched

    RunFolder.open(run_folder)
    with suppress(KeyboardInterrupt), watched(run_folder, port or 0, _warn) as server:
        typer.echo(f"live view: {server.address} (Ctrl-C ends it)")
        if open_page:
            import webbrowser

            webbrowser.open(server.address)
        while True:
            time.sleep(3600)


@app.command("list", epilog=below("list"))
def list_methods() -> None:
    """List all methods, with what each does and its options."""
    from polyrank.console.method_list import print_methods

    print_methods(Screen())


for command in (hosts.provision, hosts.serve, hosts.join, hosts.sites):
    app.command(epilog=below(command.__name__))(command)


def main() -> NoReturn:
    """Run the command line; settings that cannot be used end with 2, other failures with 1."""
    with _exit_codes():
        app(standalone_mode=True)
    sys.exit(0)


@contextmanager
def _live_view(folder: Path | None, port: int | None, quiet: bool) -> Iterator[None]:
    """Serve a run's page during the block, and until every open page has shown its end."""
    if folder is None:
        yield
        return
    from polyrank.report.live import watched

    with watched(folder, port or 0, _warn) as server:
        if not quiet:
            typer.echo(f"live view: {server.address}", err=True)  # stdout may be JSON
        yield
        server.wait_for_pages()


def _warn(text: str) -> None:
    typer.echo(plain(f"polyrank: {text}"), err=True)


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except SettingsError as error:
        _end(str(error), 2)
    except PolyRankError as error:
        _end(str(error), 1)
    except Exception as error:
        if own_place(error) is None:
            raise
        _end(told(error), 1)


def _end(message: str, code: int) -> NoReturn:
    typer.echo(plain(f"polyrank: {message}"), err=True)
    sys.exit(code)
