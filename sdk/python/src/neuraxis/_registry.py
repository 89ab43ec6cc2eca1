"""What a process has declared: agents, steps, tools, undo functions. Filled by decorators, read by the worker.

What this module must not do: import the user's code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Optional

from ._function import Function
from .errors import UsageError

if TYPE_CHECKING:
    from .agents import Agent
    from .steps import Step
    from .tools import Tool


class Registry:
    """The declarations of a process."""

    def __init__(self) -> None:
        self.agents: Dict[str, "Agent[Any]"] = {}
        self.steps: Dict[str, "Step[Any]"] = {}
        self.tools: Dict[str, Dict[str, "Tool[Any]"]] = {}
        self._undo: Dict[Any, Function] = {}

    def add_agent(self, agent: "Agent[Any]") -> None:
        """Adds an agent; the same name from another place is a mistake."""
        _add(self.agents, agent.name, agent, "agent")

    def add_step(self, step: "Step[Any]") -> None:
        """Adds a step, so that it can be named as `undo=`. Two modules may each have a step of one name."""
        self.steps[step.name] = step

    def add_tool(self, tool: "Tool[Any]") -> None:
        """Adds a tool to its toolset."""
        _add(self.tools.setdefault(tool.toolset, {}), tool.name, tool, f"tool of `{tool.toolset}`")

    def tool(self, toolset: str, tool: str) -> "Optional[Tool[Any]]":
        """A tool, if it is served here."""
        return self.tools.get(toolset, {}).get(tool)

    def undo_function(self, agent: str, name: str) -> Function:
        """The function that `undo=` named when the step was called, perhaps in an earlier process."""
        declared = self.agents.get(agent)
        if declared is None:
            raise UsageError(f"this worker has no agent `{agent}` whose code could hold `{name}`")
        found = self.resolve(declared.function.__globals__, name)
        if found is None:
            raise UsageError(
                f"agent `{agent}` has no function `{name}` to undo a step with; keep it in the agent's module until "
                "no run needs it"
            )
        return found

    def resolve(self, scope: Dict[str, Any], name: str) -> Optional[Function]:
        """A function by the name that crosses the wire: of the agent's module, else a step of that name."""
        from .steps import Step

        found = scope.get(name)
        if isinstance(found, Step):
            return found.callee
        if callable(found):
            if found not in self._undo:
                self._undo[found] = Function(found, "`undo=`")
            return self._undo[found]
        step = self.steps.get(name)
        return None if step is None else step.callee

    def offers(self) -> Dict[str, Any]:
        """The part of `hello` that says what this worker can do."""
        agents: List[Dict[str, Any]] = []
        for agent in self.agents.values():
            agents.append(
                {"name": agent.name} if agent.version is None else {"name": agent.name, "version": agent.version}
            )
        toolsets = [
            {"name": name, "tools": [tool.offer() for tool in tools.values()]} for name, tools in self.tools.items()
        ]
        return {"agents": agents, "toolsets": toolsets}


def _add(table: Dict[str, Any], name: str, entry: Any, what: str) -> None:
    known = table.get(name)
    place = getattr(entry.function, "__qualname__", name)
    if known is not None and (known.function.__module__, known.function.__qualname__) != (
        entry.function.__module__,
        place,
    ):
        raise UsageError(
            f"{what} `{name}` is declared twice: `{known.function.__module__}.{known.function.__qualname__}` and "
            f"`{entry.function.__module__}.{place}`; give one another `name=`"
        )
    table[name] = entry


registry = Registry()
"""The declarations of this process."""
