"""The folder for the results of `tinygrad-norm train`."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..data.sources import is_path, path_kind
from ..files import check_free
from ..training import Config
from ..training.norm_choices import folder_name
from ..training.run_folder import new_folder


def folder_for(config: Config, out: Path | None, kind: str | None = None) -> AbstractContextManager[Path]:
    """Return a context with `out`, or with a new folder in runs/, which an error in its body removes.

    `kind` stands for the norm in the name of a new folder.

    Raises:
        ValueError: if `out` is a file, has a run, or is in use by another process; if the dataset is a path,
            but not one of a dataset; if the folder would be within a folder of images, where it would be
            taken for a class.
    """
    _check_dataset(config, Path("runs") if out is None else out)
    if out is not None:
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file: pass a folder to --out")
        if (out / "checkpoint.safetensors").exists():
            raise ValueError(
                f"{out} already has a run: continue it with --resume {out}, or choose another --out"
            )
        check_free(out)
        return nullcontext(out)
    parts = [config.data_name, config.model, kind or folder_name(config.norm)]
    parts += [config.placement] if config.placement not in (None, "pre") else []
    parts += [f"qk-{config.qk_norm}"] if config.qk_norm not in (None, "none") else []
    parts += [f"softcap-{config.softcap:g}"] if config.softcap is not None else []
    parts += [config.scale_init] if config.scale_init not in (None, "none") else []
    return new_folder(Path("runs") / "-".join(parts))


def _check_dataset(config: Config, out: Path) -> None:
    source = config.dataset
    if not is_path(source) or path_kind(source) != "images":
        return
    images = Path(source).expanduser()
    if out.resolve().is_relative_to(images.resolve()):
        raise ValueError(
            f"the results would be written to {out}, within the folder of images {images}, where it would be "
            "taken for a class: pass a folder outside of it as --out"
        )
