"""Log lines of the standard library's `logging`, attached to the run and step during which they were written."""

from __future__ import annotations

import logging
from typing import Any, Dict

from ._flow import execution_here, flow_here

MESSAGE_MAX = 4096
_OWN = ("neuraxis", "websockets", "asyncio")


class StepHandler(logging.Handler):
    """Sends records written by agents, steps and tools to the server. Never blocks; drops when the socket is full."""

    def emit(self, record: logging.LogRecord) -> None:
        execution, flow = execution_here.get(), flow_here.get()
        if execution is None and flow is None:
            return
        if record.name.split(".", 1)[0] in _OWN:
            return
        try:
            message = self.format(record)
        except Exception:
            self.handleError(record)
            return
        frame: Dict[str, Any] = {"t": "log"}
        if execution is not None:
            worker, frame["run"], frame["inc"] = execution.worker, execution.run, execution.inc
            if execution.call is not None:
                frame["call"] = execution.call
            frame["name"] = execution.name
        elif flow is not None:
            worker, frame["run"], frame["inc"] = flow.run.worker, flow.run.id, flow.run.inc
        frame["level"] = level_of(record.levelno)
        frame["message"] = message.encode("utf-8", "replace")[:MESSAGE_MAX].decode("utf-8", "ignore")
        worker.send_soon(frame)


def level_of(number: int) -> str:
    """The protocol's word for a level."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"


def attach(level: int = logging.INFO) -> StepHandler:
    """Adds the handler to the root logger; what the loggers themselves let pass is sent from `level` on."""
    handler = StepHandler(level)
    root = logging.getLogger()
    root.addHandler(handler)
    if root.level > level:
        root.setLevel(level)
    return handler
