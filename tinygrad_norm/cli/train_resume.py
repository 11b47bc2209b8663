"""The settings of `tinygrad-norm train --resume`: those of the folder, and no others."""

import dataclasses
from pathlib import Path

import typer

from ..data.sources import locate
from ..files import check_free
from ..training import Config
from ..training.config import as_augmentations
from ..training.run_record import saved_config


def check_no_settings(context: typer.Context, folder: Path) -> None:
    """Raise ValueError if an option was given that a grid in `folder` cannot take when it continues."""
    check_free(folder)
    for name in sorted(_given(context) - {"resume", "threads", "backend", "watch", "watch_every", "explore"}):
        what = "the dataset" if name == "dataset" else f"--{name.replace('_', '-')}"
        raise ValueError(
            f"{folder} holds several runs and continues with their settings: leave out {what}. To add norms "
            f"or seeds, repeat the first command with --out {folder}"
        )


def config_of(context: typer.Context, folder: Path) -> Config:
    """Return the config of the run in `folder`; raise ValueError if a given option differs from it."""
    if folder.is_file():
        raise ValueError(f"{folder} is a file: pass the folder of a run to --resume")
    check_free(folder)
    if not any((folder / name).exists() for name in ("config.json", "checkpoint.safetensors")):
        raise ValueError(
            f"{folder} has no config.json: there is no run to resume. Pass the folder of a run, as printed "
            "when it started, or start a new one without --resume"
        )
    config = saved_config(folder)
    original = dataclasses.asdict(config) | {"out": folder, "seeds": 1}
    given = _given(context)
    values = context.params | {"augment": as_augmentations(context.params["augment"])}
    values["norm"] = ", ".join(values["norm"] or ())
    if "dataset" in given:
        values["dataset"], values["file"] = locate(values["dataset"], values["file"])
        given |= {"file"} if values["file"] is not None else set()
    for name, value in values.items():
        if name in given & set(original) and value != original[name]:
            what = "the dataset" if name == "dataset" else f"--{name.replace('_', '-')}"
            why = (
                "because its learning rate depends on it"
                if name == "epochs"
                else "because that is another run"
            )
            raise ValueError(
                f"{folder} was started with {what} {original[name]} and cannot continue with {value}, {why}: "
                f"leave out {what}, or start a new run without --resume"
            )
    return config


def _given(context: typer.Context) -> set[str]:
    """Return the names of the options and arguments on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
