"""LangGraph with its SQLite checkpointer: a graph of one node that loops; each superstep is checkpointed before the
next begins (durability `sync`). And what 200 growing lists of messages take on disk."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from importlib.metadata import version
from typing import Annotated, Any, List, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph

import measure

STEPS = 50
WARM_UP = 5


class Count(TypedDict):
    n: int
    until: int


def counting(meter: measure.Meter) -> StateGraph:
    async def add(state: Count) -> Any:
        meter.steps += 1
        return {"n": state["n"] + 1}

    graph = StateGraph(Count)
    graph.add_node("add", add)
    graph.add_edge(START, "add")
    graph.add_conditional_edges("add", lambda state: "add" if state["n"] < state["until"] else END)
    return graph


async def durable_steps(runs: int, path: str) -> None:
    meter = measure.Meter(
        f"peer.langgraph.c{runs}", langgraph=version("langgraph"), checkpointer="AsyncSqliteSaver", runs=runs,
        durability="sync", synchronous="FULL",
    )
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        await saver.conn.execute("PRAGMA synchronous=FULL")
        graph = counting(meter).compile(checkpointer=saver)
        made = 0

        async def one(steps: int) -> None:
            nonlocal made
            made += 1
            config = {"configurable": {"thread_id": f"run-{made}"}, "recursion_limit": steps + 10}
            await graph.ainvoke({"n": 0, "until": steps}, config, durability="sync")

        async def runner() -> None:
            while meter.going():
                await one(STEPS)

        await one(WARM_UP)
        meter.begin()
        await asyncio.gather(*(runner() for _ in range(runs)))
        meter.report()


class Talk(TypedDict):
    messages: Annotated[List[str], lambda old, new: old + new]


async def growing_messages(path: str, messages: int = 200, size: int = 1024) -> None:
    async def say(state: Talk) -> Any:
        return {"messages": [os.urandom(size // 2).hex()]}

    graph = StateGraph(Talk)
    graph.add_node("say", say)
    graph.add_edge(START, "say")
    graph.add_conditional_edges("say", lambda state: "say" if len(state["messages"]) < messages else END)
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        app = graph.compile(checkpointer=saver)
        config = {"configurable": {"thread_id": "t"}, "recursion_limit": messages + 10}
        await app.ainvoke({"messages": []}, config, durability="sync")
    content = messages * size
    measure.figure(
        "peer.langgraph.growing_messages", measure.sqlite_bytes(path) / content, "x content",
        langgraph=version("langgraph"), messages=messages, bytes_each=size,
    )


async def main() -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        for runs in measure.cases():
            await durable_steps(runs, os.path.join(folder, f"c{runs}.db"))
        await growing_messages(os.path.join(folder, "messages.db"))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
