"""Becomes another program that dies when its parent dies: bound_exec.py PARENT SIGNAL USER PROGRAM ARGUMENT…

A program of its own and not a `preexec_fn`, which Python warns about in a process with threads. Off Linux nothing
watches the parent: there a server outlives a pytest that was killed with SIGKILL.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def die_with_parent(death_signal: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)


def main(parent: str, death_signal: str, user: str, *command: str) -> None:
    if user:
        account = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    die_with_parent(int(death_signal))  # after the change of user, which forgets it
    if os.getppid() != int(parent):
        sys.exit("the parent is gone already")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
