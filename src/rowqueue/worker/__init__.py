"""The runtime: claims jobs, runs their handlers, writes how they ended. asyncio lives here."""

from rowqueue.worker.options import WorkerOptions
from rowqueue.worker.worker import Worker

__all__ = ["Worker", "WorkerOptions"]
