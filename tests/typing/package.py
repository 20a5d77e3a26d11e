"""The package tells type checkers that it is typed (py.typed); users' code stands in the files beside this one."""

import rowqueue

name: str = rowqueue.__name__
