"""Write files completely or not at all, and keep a folder to one process at a time."""

import errno
import os
import platform
import secrets
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

LOCK = ".lock"
"""The file in a locked folder; it names the process that locks it."""

_held: set[FileIO] = set()
"""The lock files that this process holds open."""

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""The errors of a file system that has no locks."""


class FolderInUse(ValueError):
    """Raised when another process has locked a folder."""


@contextmanager
def replacing(path: str | Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to; on success it replaces `path`, on error it is removed.

    Missing folders are made. The temporary name keeps the suffix, because some writers depend on it. With
    `durable`, the content is on the disk before it replaces the old file: one of them survives a power cut.

    Raises:
        OSError: if the folder or the file cannot be made or written to, or `path` is a folder, a device or a
            pipe; it names `path`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or a pipe"
        raise OSError(errno.EINVAL, f"this is {kind}, not a file: choose another name", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, mode = _new_partial(path)
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.chmod(mode)  # some writers make the file anew
        temporary.replace(path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_partial(folder: Path, names: Iterable[str]) -> None:
    """Remove the temporary files that a killed process left when it wrote the files `names` in `folder`."""
    for path in (folder / name for name in names):
        for left in folder.glob(f"{_partial_prefix(path)}????????{path.suffix}"):
            left.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` against other processes, and other locks of this one; the lock dies with its process.

    A forked child has no part in the lock. On a file system without locks, nothing is locked.

    Raises:
        FolderInUse: if the folder is locked; the message names the process.
        OSError: if no file can be written in the folder.
    """
    path = folder / LOCK
    file = _open_locked(path)
    _held.add(file)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}".encode())
        yield
    finally:
        if file in _held and sys.platform != "win32":  # Windows cannot remove an open file: it stays
            path.unlink(missing_ok=True)
        _held.discard(file)
        file.close()


def check_free(folder: Path) -> None:
    """Check that no other process has locked `folder`.

    Raises:
        FolderInUse: if one has.
        OSError: if no file can be written in the folder.
    """
    if (folder / LOCK).exists():
        with locked(folder):
            pass


def check_folder(folder: str | Path) -> None:
    """Check that new files can be written in `folder`.

    Raises:
        OSError: if they cannot, or `folder` is not a folder.
    """
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"no file can be written in {folder}: {error.strerror}") from None


def _let_go() -> None:
    """Close the lock files in a forked child, which would keep the folders locked when its parent is dead."""
    while _held:
        _held.pop().close()


def _open_locked(path: Path) -> FileIO:
    while True:
        try:
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise OSError(f"no file can be written in {path.parent}: {error.strerror}") from None
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return file
            file.seek(0)
            owner = file.read().decode(errors="replace") or "another process"
            file.close()
            raise FolderInUse(
                f"{path.parent} is in use: {owner} writes to it. Wait until it ends, or choose another folder"
            ) from None
        if _is_open_at(path, file):
            return file
        file.close()  # its owner has just ended, and removed it: lock a new one


def _is_open_at(path: Path, file: FileIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 2**20, os.SEEK_SET)  # beyond the text, which stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _partial_prefix(path: Path) -> str:
    return f".{path.stem}-partial-"


def _new_partial(path: Path) -> tuple[Path, int]:
    """Return a new, empty file beside `path`, and its permissions: those of this process's new files."""
    while True:
        temporary = path.with_name(f"{_partial_prefix(path)}{secrets.token_hex(4)}{path.suffix}")
        try:
            handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            continue
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        return temporary, mode


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
