"""The command that shows runs in a browser."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlas.cli.app import LISTED, app, option, read_config
from atlas.cli.closing_lines import say
from atlas.errors import ConfigError

if TYPE_CHECKING:
    from atlas.viewing.web.config import ViewConfig
    from atlas.viewing.web.library import Library
    from atlas.viewing.web.meters import Meters

_SETTING = re.compile(r"[A-Za-z_][\w.]*=")
GIVEN_HELP = (
    "Run folders of any command, folders of runs, or log files of other programs; then key=value "
    f"settings, such as annotator=ann. {LISTED}"
)
STATIC_HELP = (
    "Write one file for mailing instead, which needs no server: OUT.html. Filters of the list "
    "choose its trajectories, such as outcome=failure flipped=any limit=20."
)


@app.command()
def view(
    given: Annotated[
        list[str],
        typer.Argument(help=GIVEN_HELP, metavar="RUN… [KEY=VALUE]…", show_default=False),
    ],
    host: Annotated[
        str | None, option("--host", "The address to listen on; by default this machine only.")
    ] = None,
    port: Annotated[
        int | None, option("--port", "The port; by default 8765, or a free one if it is taken.")
    ] = None,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Print the address; do not open a browser.")
    ] = False,
    static: Annotated[Path | None, option("--static", STATIC_HELP)] = None,
    trajectory: Annotated[
        list[str] | None,
        option("--trajectory", "With --static: an id or the beginning of ids; may be repeated."),
    ] = None,
) -> None:
    """Show trajectories with their selections in a browser, and label steps there."""
    from atlas.cli.static_view import read_choice, write_page
    from atlas.viewing.web.config import ViewConfig
    from atlas.viewing.web.library import Library
    from atlas.viewing.web.sources import open_sources

    paths, settings = _paths_and_settings(given)
    folder = _cache_folder()

    def open_library() -> Library:
        sources = open_sources(paths, _import_log, folder / "imports")
        return Library(sources, folder / "indexes", shows_progress=True)

    if static is not None:
        choice = read_choice(settings)
        with closing(open_library()) as library:
            write_page(library, static, trajectory or (), choice, _labels_beside(paths[0]))
        return
    if trajectory:
        raise ConfigError(
            "--trajectory is given without --static, expected both. Search in the list instead."
        )
    config = read_config(ViewConfig, settings, host=host, port=port)
    with closing(open_library()) as library:
        _serve(library, config, paths[0], opens_browser=not no_open)


def _serve(library: Library, config: ViewConfig, first: Path, *, opens_browser: bool) -> None:
    from atlas.cli.people_selection import select_labeled
    from atlas.viewing.web.app import make_app
    from atlas.viewing.web.labels.store import LabelStore
    from atlas.viewing.web.security import access_for
    from atlas.viewing.web.serve import address_of, open_socket, serve

    # A taken port is reported before anything is written.
    opened = open_socket(config.host, config.port)
    access = access_for(config.host)
    labels = LabelStore(config.labels or _labels_beside(first))
    num_runs = len(library.of_kind("trajectories"))

    def announce(address: str) -> None:
        say(f"viewing:   {num_runs} runs, at {address}. Ctrl-C stops it.")
        if access.token is not None:
            say(f"open:      machines that reach {config.host} need the token in this address.")
        for problem in library.problems:
            say(f"problem:   {problem.where}: {problem.reason}")

    app = make_app(library, labels, config, access, select_labeled, _meters())
    serve(app, opened, address_of(opened, access), announce, opens_browser=opens_browser)
    say("stopped:   labels are saved.")


def _meters() -> Meters:
    """What measures tokens, with the objectives of training."""
    from atlas.cli.token_meters import load_meter
    from atlas.kinds import Choice
    from atlas.training.objectives.base import OBJECTIVES
    from atlas.viewing.web.meters import Meters

    names = tuple(name for name in OBJECTIVES if name != "none")
    return Meters(lambda model, name: load_meter(model, Choice(name or "none")), names)


def _labels_beside(path: Path) -> Path:
    """The default file of labels. Inside of the run, it would become an output of the run."""
    path = path.resolve()
    return path.with_name(f"{path.name}.labels.sqlite")


def _import_log(path: Path, out: Path) -> None:
    """Import a log of another program into the cache; a finished import is kept."""
    from atlas.trajectories.import_trajectories import ImportConfig, import_trajectories

    import_trajectories(ImportConfig(paths=(str(path),)), out)


def _cache_folder() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("atlas") / "view"


def _paths_and_settings(given: list[str]) -> tuple[list[Path], list[str]]:
    """The paths to show, and settings; an existing path is never a setting."""
    settings = [one for one in given if _SETTING.match(one) and not Path(one).exists()]
    paths = [Path(one) for one in given if one not in settings]
    if not paths:
        raise ConfigError("no run is given, expected at least one. Add the folder of a run.")
    return paths, settings
