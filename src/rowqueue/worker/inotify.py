"""Linux tells when a file is written, through ctypes: the standard library has no word for it."""

from __future__ import annotations

import ctypes
import os
import select
import struct
from pathlib import Path

_MODIFY, _MOVED_TO, _CREATE, _OVERFLOW = 0x2, 0x80, 0x100, 0x4000
_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name that follows


class Inotify:
    """Waits for writes to one file, which need not exist yet, and may be made anew.

    Args:
        path: the file.

    Raises:
        OSError: the system has no inotify, or no more watches for this user.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = os.fsencode(path.name)
        self._libc = ctypes.CDLL(None, use_errno=True)
        if not hasattr(self._libc, "inotify_init1"):
            raise OSError("this system has no inotify")
        self._descriptor = self._checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._ear, self._mouth = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._poll.register(self._ear, select.POLLIN)
        try:
            self._directory = self._watch(path.parent, _CREATE | _MOVED_TO)
            self._watch_file()
        except OSError:
            self.close()
            raise

    def wait(self, timeout: float | None) -> bool:
        """Wait for a write (seconds; None: until ``wake``); False when there was none."""
        while self._poll.poll(None if timeout is None else timeout * 1000):
            try:
                if self._is_ours(os.read(self._descriptor, 1 << 16)):
                    return True
            except BlockingIOError:
                return False  # woken
        return False

    def wake(self) -> None:
        """Let ``wait`` return, from any thread, now and ever after."""
        os.write(self._mouth, b"!")

    def close(self) -> None:
        """Watch no more."""
        for descriptor in (self._descriptor, self._ear, self._mouth):
            os.close(descriptor)

    def _is_ours(self, data: bytes) -> bool:
        ours, at = False, 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0")
            at += _EVENT.size + length
            if watch != self._directory:
                ours = ours or bool(mask & (_MODIFY | _OVERFLOW))
            elif name == self._name:
                ours = True
                self._watch_file()
        return ours

    def _watch_file(self) -> None:
        try:
            self._watch(self._path, _MODIFY)
        except FileNotFoundError:
            return  # the directory will tell

    def _watch(self, path: Path, mask: int) -> int:
        return self._checked(self._libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask))

    @staticmethod
    def _checked(answer: int) -> int:
        if answer < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        return answer
