"""What workers of a database are told, heard by a connection of the test's own."""

import contextlib
from collections.abc import Iterator

import psycopg

from tests.support.session import plain_url

CHANNEL = "rowqueue_wake"


class Ears:
    """Listens; what was told so far is known for certain, because notifications come in the order of commits."""

    def __init__(self, url: str, channel: str = CHANNEL) -> None:
        self._channel = channel
        self._connection = psycopg.connect(plain_url(url), autocommit=True)
        self._connection.execute(f'LISTEN "{channel}"')  # type: ignore[call-overload]

    def heard(self) -> list[str]:
        """What was told since it was asked last."""
        self._connection.execute("SELECT pg_notify(%s, 'the end')", [self._channel])
        told: list[str] = []
        for notify in self._connection.notifies(timeout=10):
            if notify.payload == "the end":
                return told
            told.append(notify.payload)
        raise TimeoutError("a notification of our own did not come")

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def ears(url: str, channel: str = CHANNEL) -> Iterator[Ears]:
    listening = Ears(url, channel)
    try:
        yield listening
    finally:
        listening.close()
