"""What databases' errors mean, by the codes that they document."""

from __future__ import annotations

from rowqueue.core import errors

_REMEDY = (
    "the database ended this transaction (deadlock or serialization failure): run it again from its start; "
    "rowqueue repeats its own transactions, but not one of yours"
)


def from_sqlstate(state: str | None, name: str, said: str) -> errors.StoreError:
    """A PostgreSQL error as one of ours.

    Args:
        state: SQLSTATE; None where the connection broke.
        name: the driver's name for the error.
        said: the server's primary message, which has no row values in it.
    """
    match state:
        case None:
            return errors.DatabaseUnavailable(f"the connection to PostgreSQL was lost or refused ({name})")
        case "40P01" | "40001":
            return errors.TransactionConflict(_REMEDY)
        case "55P03" | "57014":
            return errors.DatabaseBusy(f"a lock or statement time-out ended the statement: {said}")
        case "53100":
            return errors.StoreFull(
                "the disk of the PostgreSQL server is full: free space, nothing acknowledged is lost"
            )
        case "23505":
            return errors.UniqueConflict(f"a unique index refused the row: {said}")
        case "42P01" | "3F000":
            return errors.SchemaMissing(f"{said}: run 'rowqueue init'")
        case "42703":
            return errors.SchemaTooOld(f"{said}: run 'rowqueue init'")
        case _ if state[:2] in {"08", "57", "58", "53"}:
            return errors.DatabaseUnavailable(f"PostgreSQL is not available: {said} ({state})")
        case _:
            return errors.StoreError(f"PostgreSQL refused a statement: {said} ({state} {name})")


def from_sqlite(code: int | None, said: str) -> errors.StoreError:
    """An SQLite error as one of ours.

    Args:
        code: the extended result code; None where the driver gave none.
        said: SQLite's message, which has no row values in it.
    """
    if code in {2067, 1555}:
        return errors.UniqueConflict(f"a unique index refused the row: {said}")
    match None if code is None else code & 0xFF:
        case 5 | 6:
            return errors.DatabaseBusy(
                "another connection holds the write lock of the SQLite file: begin writing transactions with "
                "BEGIN IMMEDIATE and keep them short, then run this one again"
            )
        case 13:
            return errors.StoreFull("the disk is full: free space, nothing acknowledged is lost")
        case 10 | 14:
            return errors.DatabaseUnavailable(f"the SQLite file cannot be opened, read or written: {said}")
        case 26 | 11:
            return errors.StoreError(f"the file is damaged, or is no SQLite database: {said}")
        case _ if said.startswith("no such table"):
            return errors.SchemaMissing(f"{said}: run 'rowqueue init'")
        case _ if said.startswith("no such column"):
            return errors.SchemaTooOld(f"{said}: run 'rowqueue init'")
        case _:
            return errors.StoreError(f"SQLite refused a statement: {said}")


LOCK_WAIT = 10
"""Seconds that a statement of ours waits for another's row lock on MariaDB before it says busy."""

MARIADB_SESSION = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    f"SET time_zone = '+00:00', sql_mode = 'TRADITIONAL', innodb_lock_wait_timeout = {LOCK_WAIT}",
)
"""What a connection of ours begins with: READ COMMITTED, UTC, and errors where data does not fit."""

_GONE = frozenset(
    {0, 1040, 1053, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1927, 4031, 2006, 2013, 2055}
)


def from_mysql(code: int, name: str, said: str) -> errors.StoreError:
    """A MariaDB or MySQL error as one of ours.

    Args:
        code: the error's number; 0 where the connection was closed already.
        name: the driver's name for the error.
        said: the server's message. It may have values of rows in it, so little of it is told.
    """
    match code:
        case 1213 | 1020 | 1180:
            return errors.TransactionConflict(_REMEDY)
        case 1205 | 3572 | 1969 | 3024 | 1317:
            return errors.DatabaseBusy(f"a lock or statement time-out ended the statement ({code})")
        case 1062 | 1586:
            key = said.rpartition(" for key ")[2]
            return errors.UniqueConflict(f"a unique index refused the row: {key}")
        case 1021 | 1114 | 3 | 28:
            return errors.StoreFull(
                "the disk of the MariaDB server is full: free space, nothing acknowledged is lost"
            )
        case 1030 if "28" in said:
            return errors.StoreFull(
                "the disk of the MariaDB server is full: free space, nothing acknowledged is lost"
            )
        case 1146:
            return errors.SchemaMissing(f"{said}: run 'rowqueue init'")
        case 1176:
            return errors.SchemaTooOld(f"an index is missing ({said}): run 'rowqueue doctor'")
        case 1054:
            return errors.SchemaTooOld(f"{said}: run 'rowqueue init'")
        case 1290 | 1792 | 1836:
            return errors.DatabaseUnavailable(
                f"the MariaDB server only reads now ({code}): it may be a replica"
            )
        case 1044 | 1045 | 1049 | 1698:
            return errors.DatabaseUnavailable(f"MariaDB let nobody in: {said} ({code})")
        case 1142 | 1143 | 1227:
            return errors.StoreError(f"MariaDB refused a statement: {said} ({code} {name})")
        case 2002 | 2003:
            return errors.DatabaseUnavailable(f"MariaDB cannot be reached: {said} ({code})")
        case _ if code in _GONE:
            return errors.DatabaseUnavailable(
                f"the connection to MariaDB was lost or refused ({code} {name})"
            )
        case _:
            return errors.StoreError(f"MariaDB refused a statement (error {code}, {name})")
