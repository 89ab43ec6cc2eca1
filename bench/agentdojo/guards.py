"""What answers the agent: the server over HTTP, the crate in a process of its own, and what they are compared with."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
import urllib.parse
from typing import Any, Dict, List, Optional

PRINCIPAL = "user"


def opened(agent: str, prompt: str, tools: List[Dict[str, Any]]) -> Dict[str, Any]:
    return {"agent": agent, "principal": PRINCIPAL, "prompt": prompt, "tools": tools}


class Refused(Exception):
    """The guard did not answer as it should."""


class Transport:
    """What stays open from one session to the next."""

    def __init__(self) -> None:
        self.times: List[float] = []

    def timed(self, ask: Any) -> Any:
        begun = time.perf_counter()
        answer = ask()
        self.times.append((time.perf_counter() - begun) * 1e6)
        return answer


class Http(Transport):
    """A server, over one connection."""

    def __init__(self, url: str, token: Optional[str]) -> None:
        super().__init__()
        parts = urllib.parse.urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port or 7700, timeout=60)
        self.headers = {"content-type": "application/json"}
        if token:
            self.headers["authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        payload = None if body is None else json.dumps(body)
        self.connection.request(method, path, payload, self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {text[:400]!r}")
        return json.loads(text) if text else None

    def session(self, agent: str, prompt: str, tools: List[Dict[str, Any]]) -> "HttpSession":
        return HttpSession(self, self.call("POST", "/api/guard/sessions", opened(agent, prompt, tools))["session"])


class HttpSession:
    def __init__(self, server: Http, session: str) -> None:
        self.server = server
        self.path = "/api/guard/sessions/" + session

    def check(self, tool: str, args: Dict[str, Any]) -> Dict[str, Any]:
        return self.server.timed(lambda: self.server.call("POST", self.path + "/check", {"tool": tool, "args": args}))

    def decide(self, verdict: Dict[str, Any], yes: bool, again: Any) -> Dict[str, Any]:
        """What a person says of an approval; `again` asks once more, and gets what came of it."""
        path = f"/api/approvals/{verdict['approval']}"
        ruling = {
            "decision": "approve" if yes else "deny",
            "hash": self.server.call("GET", path, None)["hash"],
            "reason": "ground truth" if yes else "not asked for",
        }
        self.server.call("POST", path + "/decide", ruling)
        return again() if yes else {"decision": "deny"}

    def observe(self, tool: str, args: Dict[str, Any], result: Any, error: Optional[str]) -> None:
        body: Dict[str, Any] = {"tool": tool, "args": args}
        body.update({"error": error} if error else {"result": result})
        self.server.call("POST", self.path + "/observe", body)

    def output(self, text: str) -> Dict[str, Any]:
        return self.server.call("POST", self.path + "/output", {"text": text})

    def close(self) -> None:
        self.server.call("DELETE", self.path)


class Local(Transport):
    """The crate alone: the example `replay`, one JSON object a line. `policy` stands in place of the shipped one."""

    def __init__(self, program: str, policy: Optional[str]) -> None:
        super().__init__()
        self.policy = policy
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, request: Dict[str, Any]) -> Dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"{next(iter(request))}: the process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Refused(f"{next(iter(request))}: {answer['error']}")
        return answer

    def session(self, agent: str, prompt: str, tools: List[Dict[str, Any]]) -> "LocalSession":
        request = opened(agent, prompt, tools)
        if self.policy is not None:
            request["policy"] = self.policy
        self.call({"session": request})
        return LocalSession(self)


class LocalSession:
    def __init__(self, local: Local) -> None:
        self.local = local

    def check(self, tool: str, args: Dict[str, Any]) -> Dict[str, Any]:
        return self.local.timed(lambda: self.local.call({"check": {"tool": tool, "args": args}}))

    def decide(self, verdict: Dict[str, Any], yes: bool, again: Any) -> Dict[str, Any]:
        return {"decision": "allow" if yes else "deny"}

    def observe(self, tool: str, args: Dict[str, Any], result: Any, error: Optional[str]) -> None:
        self.local.call({"observe": {"tool": tool, "error": error} if error else {"tool": tool, "result": result}})

    def output(self, text: str) -> Dict[str, Any]:
        return self.local.call({"output": {"text": text}})

    def close(self) -> None:
        pass


class Open(Transport):
    """No guard at all."""

    def session(self, agent: str, prompt: str, tools: List[Dict[str, Any]]) -> "OpenSession":
        return OpenSession()


class OpenSession:
    def check(self, tool: str, args: Dict[str, Any]) -> Dict[str, Any]:
        return {"decision": "allow", "reasons": []}

    def decide(self, verdict: Dict[str, Any], yes: bool, again: Any) -> Dict[str, Any]:
        return {"decision": "allow" if yes else "deny"}

    def observe(self, tool: str, args: Dict[str, Any], result: Any, error: Optional[str]) -> None:
        pass

    def output(self, text: str) -> Dict[str, Any]:
        return {"decision": "allow", "reasons": []}

    def close(self) -> None:
        pass


class OneLabel(Transport):
    """One label for the whole context: once a tool that hands on untrusted text was read, each action asks."""

    def session(self, agent: str, prompt: str, tools: List[Dict[str, Any]]) -> "OneLabelSession":
        return OneLabelSession({tool["name"]: tool for tool in tools})


class OneLabelSession(OpenSession):
    def __init__(self, tools: Dict[str, Dict[str, Any]]) -> None:
        self.tools = tools
        self.tainted = False

    def check(self, tool: str, args: Dict[str, Any]) -> Dict[str, Any]:
        asks = self.tainted and self.tools[tool]["effect"] != "read"
        return {"decision": "ask" if asks else "allow", "reasons": []}

    def observe(self, tool: str, args: Dict[str, Any], result: Any, error: Optional[str]) -> None:
        output = self.tools[tool]["output"]
        trust = output if isinstance(output, str) else output.get("trust", "untrusted")
        self.tainted |= bool(error) or trust != "trusted"
