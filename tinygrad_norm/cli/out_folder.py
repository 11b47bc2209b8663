"""The folder for the results of `tinygrad-norm train`."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ..training import Config
from ..training.norm_choices import folder_name
from ..training.run_folder import new_folder


def folder_for(config: Config, out: Path | None, kind: str | None = None) -> AbstractContextManager[Path]:
    """Return a context with `out`, or with a new folder in runs/, which an error in its body removes.

    `kind` stands for the norm in the name of a new folder.

    Raises:
        ValueError: if `out` is a file, or has a run.
    """
    if out is not None:
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out} is a file: pass a folder to --out")
        if (out / "checkpoint.safetensors").exists():
            raise ValueError(
                f"{out} already has a run: continue it with --resume {out}, or choose another --out"
            )
        return nullcontext(out)
    parts = [config.data_name, config.model, kind or folder_name(config.norm)]
    parts += [config.residual] if config.residual not in (None, "pre") else []
    parts += [f"qk-{config.qk_norm}"] if config.qk_norm not in (None, "none") else []
    return new_folder(Path("runs") / "-".join(parts))
