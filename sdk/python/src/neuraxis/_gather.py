"""`nx.gather`: branches of an agent that run side by side, each with a scope of its own in the record."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
from typing import Any, Awaitable, Callable, Dict, List, Optional, Tuple, Union, cast

from ._flow import Flow, current_flow, flow_here
from .errors import Cancelled, Dropped, UsageError

Branch = Union[Awaitable[Any], Callable[[], Any]]

MAX_BRANCHES = 10_000
MAX_BRANCH_THREADS = 64


def gather(*branches: Any, **named: Any) -> Awaitable[Any]:
    """Runs branches side by side and joins them: a list of their results, or a dict if they are named.

    `await nx.gather(a(1), b(2))`, `await nx.gather(left=a(1), right=b(2))`; a text before them names the gather in
    the record: `nx.gather("refunds", *[refund(o) for o in orders])`. A branch is an awaitable, or a function without
    parameters (sync agents: functions only). If a branch fails, those that merely wait are stopped, those that execute
    a step end it, and the first failure is raised."""
    name: Optional[str] = None
    if branches and isinstance(branches[0], str):
        name, branches = branches[0], branches[1:]
    labelled = _labelled(branches, named)
    flow = current_flow("`nx.gather`")
    if name is None:
        name = f"g{flow.gathers}"
        flow.gathers += 1
    scope = f"{flow.scope}/{name}" if flow.scope else name
    if asyncio._get_running_loop() is not None:
        return _gather(flow, scope, labelled, bool(named))
    return cast("Awaitable[Any]", _gather_blocking(flow, scope, labelled, bool(named)))


def _labelled(branches: Tuple[Any, ...], named: Dict[str, Any]) -> List[Tuple[str, Branch]]:
    if branches and named:
        raise UsageError("name all branches of a gather or none")
    labelled = list(named.items()) if named else [(str(place), branch) for place, branch in enumerate(branches)]
    if len(labelled) > MAX_BRANCHES:
        raise UsageError(f"a gather has at most {MAX_BRANCHES} branches; gather in portions")
    for label, branch in labelled:
        if isinstance(branch, asyncio.Future):
            raise UsageError(f"branch `{label}` is a task that runs already, outside of its branch; pass the coroutine")
        if not (callable(branch) or inspect.isawaitable(branch)):
            raise UsageError(f"branch `{label}` is a `{type(branch).__name__}`; pass an awaitable or a function")
    return labelled


async def _in_branch(branch: Branch) -> Any:
    result = branch() if callable(branch) else branch
    return await result if inspect.isawaitable(result) else result


async def _gather(flow: Flow, scope: str, labelled: List[Tuple[str, Branch]], named: bool) -> Any:
    run = flow.enter()
    loop = asyncio.get_running_loop()
    if loop is not run.worker.loop:
        flow.leave()
        raise UsageError("`nx.gather` in an event loop of a sync agent's own; make the agent async instead")
    flows: List[Flow] = []
    tasks: "List[asyncio.Task[Any]]" = []
    try:
        for label, branch in labelled:
            inner = Flow(run, f"{scope}.{label}")
            context = contextvars.copy_context()
            context.run(flow_here.set, inner)
            inner.task = context.run(loop.create_task, _in_branch(branch))
            flows.append(inner)
            tasks.append(inner.task)
        try:
            await _join(flows, tasks)
        except asyncio.CancelledError:
            # The agent's own code was cancelled while it joined: the branches end first.
            for inner in flows:
                inner.stop(lambda: Cancelled("the gather was cancelled"))
            if tasks:
                await asyncio.wait(tasks)
            raise
        failure = _first_failure(flow, tasks)
        if failure is not None:
            raise failure
        results = [task.result() for task in tasks]
        return dict(zip((label for label, _ in labelled), results)) if named else results
    finally:
        run.flows.difference_update(flows)
        flow.leave()


async def _join(flows: List[Flow], tasks: "List[asyncio.Task[Any]]") -> None:
    pending = set(tasks)
    stopping = False
    while pending:
        finished, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        if pending and not stopping and any(task.cancelled() or task.exception() for task in finished):
            stopping = True
            for inner, task in zip(flows, tasks):
                if not task.done():
                    inner.stop(lambda: Cancelled("another branch failed"))


def _first_failure(flow: Flow, tasks: "List[asyncio.Task[Any]]") -> Optional[BaseException]:
    """What to raise: the end of the run, else the first real failure in the order of the branches."""
    if flow.stopped is not None:
        return flow.stopped()
    cancelled: Optional[BaseException] = None
    for task in tasks:
        if task.cancelled():
            cancelled = cancelled or Cancelled("a branch was cancelled")
            continue
        failure = task.exception()
        if failure is not None:
            return failure
    return cancelled


def _gather_blocking(flow: Flow, scope: str, labelled: List[Tuple[str, Branch]], named: bool) -> Any:
    for label, branch in labelled:
        if not callable(branch):
            raise UsageError(f"branch `{label}` of a sync agent must be a function: `nx.gather(lambda: refund(order))`")
    run = flow.enter()
    flows: List[Flow] = []
    try:
        with concurrent.futures.ThreadPoolExecutor(
            min(len(labelled), MAX_BRANCH_THREADS) or 1, "neuraxis-branch"
        ) as pool:
            work: "List[concurrent.futures.Future[Any]]" = []
            for label, branch in labelled:
                inner = Flow(run, f"{scope}.{label}")
                context = contextvars.copy_context()
                context.run(flow_here.set, inner)
                flows.append(inner)
                work.append(pool.submit(context.run, branch))  # type: ignore[arg-type]
            _join_blocking(run.worker.loop, flows, work)
        if flow.stopped is not None:
            raise flow.stopped()
        stopped: Optional[BaseException] = None
        for item in work:
            failure = item.exception()
            if isinstance(failure, (Cancelled, Dropped)):
                stopped = stopped or failure
            elif failure is not None:
                raise failure
        if stopped is not None:
            raise stopped
        results = [item.result() for item in work]
        return dict(zip((label for label, _ in labelled), results)) if named else results
    finally:
        run.flows.difference_update(flows)
        flow.leave()


def _join_blocking(
    loop: asyncio.AbstractEventLoop, flows: List[Flow], work: "List[concurrent.futures.Future[Any]]"
) -> None:
    finished, pending = concurrent.futures.wait(work, return_when=concurrent.futures.FIRST_EXCEPTION)
    if pending and any(item.exception() is not None for item in finished):
        for inner, item in zip(flows, work):
            if not item.done():
                loop.call_soon_threadsafe(inner.stop, lambda: Cancelled("another branch failed"))
    concurrent.futures.wait(work)
