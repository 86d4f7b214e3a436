"""A small disk of its own for a mesh: an ext4 file system in a file, behind a loop device. Linux, and root.

Its power can be cut: the file system is shut down as it stands (the ioctl that xfstests use for the same), and what was
not synced by then is gone when it is mounted again. What this does not show is a disk that lies about its own cache.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from scripts.faulting.fault import NotPossible

TOOLS = ("mkfs.ext4", "mount", "umount")
# EXT4_IOC_SHUTDOWN, without flushing the journal first.
_SHUTDOWN, _AT_ONCE = 0x8004587D, struct.pack("I", 2)
# The journal is written when somebody syncs, and not besides.
_OPTIONS = "loop,commit=300"
_BALLAST = "ballast"
_PIECES_BYTES = (1 << 20, 1 << 16, 1 << 12)
UNMOUNTS_WITHIN_S = 20.0


class Disk:
    """Mounted at `folder`."""

    def __init__(self, image: Path, folder: Path) -> None:
        self.folder = folder
        self._image = image

    def mount(self) -> None:
        """Mounts it; raises NotPossible."""
        _run("mount", "-o", _OPTIONS, str(self._image), str(self.folder))

    async def unmount(self) -> None:
        """Returns once it is unmounted: processes that were killed may hold it for another moment."""
        deadline = time.monotonic() + UNMOUNTS_WITHIN_S
        while error := await asyncio.to_thread(_failure, "umount", str(self.folder)):
            if time.monotonic() > deadline:
                raise OSError(error)
            await asyncio.sleep(0.05)

    def cut_power(self) -> None:
        """From now on nothing reaches the disk, and whoever writes gets an error."""
        folder = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _AT_ONCE)
        finally:
            os.close(folder)

    def fill(self) -> None:
        """Takes all room that is left; again and again, as others make some."""
        descriptor = os.open(self.folder / _BALLAST, os.O_RDWR | os.O_CREAT)
        try:
            for piece in _PIECES_BYTES:
                with contextlib.suppress(OSError):
                    while True:
                        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, piece)
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Gives the room back."""
        (self.folder / _BALLAST).unlink(missing_ok=True)


@asynccontextmanager
async def mounted_disk(folder: Path, size_mib: int) -> AsyncIterator[Disk]:
    """Makes a disk in a folder, mounts it, and puts a plain copy in its place at the end; raises NotPossible."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise NotPossible("it needs a disk of its own, and only root may mount one, on Linux")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise NotPossible(f"it needs a disk of its own, and there is no {' nor '.join(missing)}")
    image, mount_point = folder / "disk.img", folder / "disk"
    mount_point.mkdir()
    with image.open("wb") as empty:
        empty.truncate(size_mib << 20)
    _run("mkfs.ext4", "-q", "-F", "-m", "0", str(image))
    disk = Disk(image, mount_point)
    disk.mount()
    try:
        yield disk
    finally:
        copy = folder / "copy"
        copy.mkdir()
        with contextlib.suppress(OSError):  # after a power cut nothing can be read
            shutil.copytree(mount_point, copy, symlinks=True, dirs_exist_ok=True)
        await disk.unmount()
        image.unlink()
        mount_point.rmdir()
        copy.rename(mount_point)


def _run(*command: str) -> None:
    if error := _failure(*command):
        raise NotPossible(error)


def _failure(*command: str) -> str:
    """Runs a command; what it says where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{command[0]}: {' '.join(done.stderr.split())}" if done.returncode else ""
