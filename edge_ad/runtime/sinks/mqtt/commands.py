"""Commands that come over MQTT, and what is answered."""

from __future__ import annotations

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from edge_ad.errors import EdgeAdError, UsageError
from edge_ad.runtime.sinks.base import Command, OnCommand

log = logging.getLogger(__name__)

ACK_SCHEMA: Final = "edge-ad/ack/1"
MAX_BYTES = 4096
_REMEMBERED = 64  # commands with an id, which are not carried out twice


class Commands:
    """Carries out what comes below `edge-ad/<node>`, each command with an `id` once."""

    def __init__(self, on_command: OnCommand):
        self._on_command = on_command
        self._answers: OrderedDict[str, str] = OrderedDict()

    def answer(self, levels: list[str], payload: bytes) -> str:
        """levels: of the topic below the node: [cmd, name] or [stream, cmd, name]. The answer's JSON."""
        identity: Any = None
        try:
            arguments = _arguments(levels[-1], payload)
            identity = arguments.pop("id", None)
            key = None if identity is None else json.dumps([levels, identity])
            if key is not None and key in self._answers:
                return self._answers[key]
            command = Command(levels[-1], levels[0] if len(levels) == 3 else None, arguments)
            answer = _ack(True, identity, self._on_command(command))
            if key is not None:
                self._answers[key] = answer
                while len(self._answers) > _REMEMBERED:
                    self._answers.popitem(last=False)
            return answer
        except EdgeAdError as error:
            return _ack(False, identity, {"error": str(error)})
        except (
            Exception
        ) as error:  # a fault in the program must not end the thread that reads from the broker
            log.exception("the command '%s' failed", levels[-1])
            return _ack(False, identity, {"error": f"failed ({error!r})"})


def _ack(ok: bool, identity: Any, result: Mapping[str, Any]) -> str:
    named = {} if identity is None else {"id": identity}
    data = {"schema": ACK_SCHEMA, "ok": ok, **named, **result}
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _arguments(name: str, payload: bytes) -> dict[str, Any]:
    """A JSON object; nothing; or, of `threshold`, its value alone. Raises UsageError."""
    if not payload.strip():
        return {}
    if len(payload) > MAX_BYTES:
        raise UsageError(f"a command has at most {MAX_BYTES} bytes, not {len(payload)}")
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"a command is a JSON object ({error})") from error
    if name == "threshold" and isinstance(data, int | float) and not isinstance(data, bool):
        return {"value": data}
    if not isinstance(data, dict):
        raise UsageError("a command is a JSON object", hint='e.g. {"value": 0.5}')
    return data
