"""Every error that rowqueue raises, by what the caller can do about it."""

from __future__ import annotations


class RowqueueError(Exception):
    """The root: ``except rowqueue.RowqueueError`` catches everything that is ours."""


class ConfigurationError(RowqueueError, ValueError):
    """An option, a URL, a name or a mapping is wrong. The message says what to write instead."""


class InvalidArguments(RowqueueError, ValueError):
    """The arguments do not fit the job's signature, or cannot be stored as JSON."""


class PayloadTooLarge(InvalidArguments):
    """The encoded value is longer than the limit (bytes): store it elsewhere and enqueue its name."""


class FeatureMissing(RowqueueError):
    """This table or database has no room for what was asked."""


class UnknownKind(RowqueueError, LookupError):
    """No job of that kind is registered on this app."""


class StoreError(RowqueueError):
    """The database refused, or could not be asked."""


class SchemaError(StoreError):
    """The tables are missing, too old or too new for this version of rowqueue."""


class SchemaMissing(SchemaError):
    """The tables are not there: run ``rowqueue init``."""


class SchemaTooOld(SchemaError):
    """The tables are older than this version needs: run ``rowqueue init``."""


class SchemaTooNew(SchemaError):
    """The tables were upgraded by a newer rowqueue: upgrade this one."""


class DatabaseUnavailable(StoreError):
    """The connection failed or was lost. What was acknowledged is safe.

    The outcome of a write in flight is unknown: ask again (a finish by the same claim is
    recognised; an enqueue with a unique key is not doubled).
    """


class DatabaseBusy(StoreError):
    """Somebody else holds the lock for longer than the time-out: run the transaction again."""


class TransactionConflict(StoreError):
    """A deadlock or a serialization failure ended the transaction: run it again from its start.

    Inside rowqueue's own transactions this is retried; on a connection of yours it is yours,
    because repeating only our statement would silently drop your work before it.
    """


class StoreFull(StoreError):
    """The disk, or the quota, is full. Nothing that was acknowledged is lost."""


class UniqueConflict(StoreError):
    """A database constraint refused a second row (a unique key)."""


class LeaseLost(RowqueueError):
    """The claim's lease is not valid any more: roll back, somebody else has the job.

    Raised by ``complete_in`` and by ``Outcome.or_raise``.
    """


class NotDone(RowqueueError):
    """``Outcome.or_raise`` on an outcome that is not done, for another reason than a lost lease."""
