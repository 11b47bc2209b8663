"""`tinygrad-norm exercise`: backwards to write, checked, with hints."""

from pathlib import Path
from threading import Timer
from typing import Annotated

import typer
from rich.console import Console

from ..files import replacing
from ..learn.exercises import NAMES
from ..learn.exercises.checking import LAUNCH_SECONDS, State
from ..learn.exercises.checking import check as check_file
from ..learn.exercises.exercise import Solved, load
from ..learn.exercises.exercise_progress import Progress, read_progress
from ..learn.exercises.starttext import solution_text, start_text
from ..learn.ownprocess import in_own_process
from .errors import errors_printed, exit_with
from .program import Program
from .tables import words_table

exercise = Program()
TRIES_ALONE = 2
"""After the first tries only the mistake is printed, after later ones also the right formula."""
SECONDS, KERNEL_SECONDS = 20.0, 60.0
"""How long a check may take if nothing else is said: kernels and the emulator may have to be compiled."""
WAITING_SECONDS = 4.0
"""A check that takes longer says that it waits."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="An exercise; `list` shows them.")]
NameOrNext = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", help="An exercise; without it, the first that is not done.", show_default=False
    ),
]
NameOrCurrent = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="An exercise; without it, the one begun last.", show_default=False),
]


@exercise.callback()
def _exercise() -> None:
    """Learn to write backwards: from a sigmoid to a fused CUDA kernel, with checks and hints.

    The files and the progress are kept in `exercises/` of the current folder.
    """


@exercise.command("list")
def list_() -> None:
    """List the exercises in their order, and how far you are."""
    with errors_printed():
        progress = read_progress()
        console, rows = Console(), []
        for name in NAMES:
            found = load(name).exercise
            rows.append((name, str(found.level), found.title, _state(progress, name)))
    console.print(words_table(console, ("exercise", "level", "what it is", "state"), rows))
    following = progress.next()
    if following:
        typer.echo(_what_to_do(progress, following))


@exercise.command()
def start(
    name: NameOrNext = None,
    again: Annotated[
        bool, typer.Option("--again", help="Write it anew; your file is kept under another name.")
    ] = False,
) -> None:
    """Write the file of an exercise to exercises/NAME.py. A file of yours is never overwritten."""
    with errors_printed():
        progress = read_progress()
        name = name or progress.next() or NAMES[0]
        solved, path, kept = load(name), progress.path(name), None
        if path.exists() and not again:
            exit_with(
                f"{path} is there already: go on with it and check it, or begin anew with --again, which "
                "keeps yours under another name"
            )
        if path.exists():
            kept = _free(path)
            path.rename(kept)
        with replacing(path) as temporary:
            temporary.write_text(start_text(solved.source, name), encoding="utf-8")
        progress.current = name
        progress.save()
    if kept:
        typer.echo(f"your file is now {kept}")
    typer.echo(f"{path} is written: {solved.exercise.title}")
    typer.echo("Read its first lines, write what is marked, then: " + _command("check", name))


@exercise.command()
def check(
    name: NameOrCurrent = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Give up after this many seconds; if not given, 20, or 60 for a CUDA kernel.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check your file of an exercise. If it is not right, say what is wrong, and give one more hint.

    From the third try on, the right formula is shown too.

    Exits with status 1 if it is not right, 2 if it cannot be checked.
    """
    with errors_printed():
        progress = read_progress()
        solved = _chosen(progress, name)
        name = solved.exercise.name
        path = progress.path(name)
        seconds = seconds or (KERNEL_SECONDS if solved.exercise.needs_compiler else SECONDS)
        if not path.exists():
            exit_with(f"there is no {path} here. Write it with: {_command('start', name)}")
        launch, tells_formula = min(seconds / 2, LAUNCH_SECONDS), progress[name].tries >= TRIES_ALONE
        waiting = Timer(WAITING_SECONDS, _say_that_it_waits, (seconds,))
        waiting.daemon = True
        waiting.start()
        try:
            outcome = in_own_process(
                check_file, name, path, launch, tells_formula, seconds=seconds, file=path
            )
        except (TimeoutError, RuntimeError) as error:
            exit_with(f"{name} cannot be checked: {error}")
        finally:
            waiting.cancel()
        if outcome.state is State.FAILED:
            exit_with(f"{name} cannot be checked: {outcome.text}")
        progress.current, record = name, progress[name]
        if outcome.state in (State.RIGHT, State.WRONG):
            record.tries += 1
        hint_text = ""
        if outcome.state is State.WRONG:
            record.done = False
            hint_text = _next_hint(solved, progress)
        record.done = record.done or outcome.state is State.RIGHT
        progress.save()
    if outcome.state is not State.RIGHT:
        typer.echo(f"{name}: {outcome.state.value}{_tries(record.tries, ', try ')}")
        typer.echo(f"\n{outcome.text}{hint_text}")
        raise typer.Exit(1)
    typer.echo(f"{name}: right, after {_count(record.tries, 'try', 'tries')} ({outcome.text})")
    following = progress.next()
    typer.echo(_what_to_do(progress, following) if following else "That was the last: all are done.")


@exercise.command()
def hint(name: NameOrCurrent = None) -> None:
    """Show one more hint to an exercise; after the last, all of them."""
    with errors_printed():
        progress = read_progress()
        solved = _chosen(progress, name)
        shown = _next_hint(solved, progress)
        progress.save()
    typer.echo(shown.strip())


@exercise.command()
def solution(name: Name) -> None:
    """Print the solution of an exercise."""
    with errors_printed():
        text = solution_text(load(name).source)
    typer.echo(text.rstrip())


def _say_that_it_waits(seconds: float) -> None:
    typer.echo(f"still running; it is stopped after {seconds:g} seconds …", err=True)


def _chosen(progress: Progress, name: str | None) -> Solved:
    """Return the exercise called `name`, or the current one."""
    if name is None and not progress.current:
        exit_with(f"no exercise is begun in this folder. Begin with: {_command('start', NAMES[0])}")
    return load(name or progress.current)


def _next_hint(solved: Solved, progress: Progress) -> str:
    """Return the next hint, and count it; the way to the solution, if there is no other."""
    hints, record = solved.exercise.hints, progress[solved.exercise.name]
    if record.hints < len(hints):
        record.hints += 1
        return f"\n\nhint {record.hints} of {len(hints)}: {hints[record.hints - 1]}"
    lines = [f"hint {k}: {text}" for k, text in enumerate(hints, 1)]
    way = _command("solution", solved.exercise.name)
    return "\n\n" + "\n".join([*lines, f"There is no other hint. The solution: {way}"])


def _state(progress: Progress, name: str) -> str:
    record = progress.records.get(name)
    tries = _count(record.tries, "try", "tries") if record and record.tries else ""
    if record and record.done:
        state = "done"
    elif progress.path(name).exists():
        state = "begun"
    else:
        state = ""
    words = [word for word in (state, tries) if word]
    return ", ".join([*words, "next"] if name == progress.next() else words)


def _what_to_do(progress: Progress, name: str) -> str:
    title = load(name).exercise.title
    verb = "check" if progress.path(name).exists() else "start"
    return f"Next: {name} ({title}): {_command(verb, name)}"


def _command(verb: str, name: str) -> str:
    return f"tinygrad-norm exercise {verb} {name}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _tries(number: int, before: str) -> str:
    return f"{before}{number}" if number else ""


def _free(path: Path) -> Path:
    """Return a name beside `path` that no file has."""
    number = 1
    while (found := path.with_name(f"{path.stem}_{number}{path.suffix}")).exists():
        number += 1
    return found
