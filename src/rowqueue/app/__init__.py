"""Jobs and their enqueue: functions become kinds, and calls become rows."""

from rowqueue.app.app import App
from rowqueue.app.context import Context

__all__ = ["App", "Context"]
