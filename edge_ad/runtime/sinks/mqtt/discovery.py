"""What Home Assistant has to know to show a device: one retained message (device-based discovery)."""

from __future__ import annotations

import json
from typing import Any

from edge_ad.runtime.sinks.base import DeviceInfo, StreamInfo


def topic(prefix: str, node: str) -> str:
    """Where the message goes."""
    return f"{prefix.strip('/')}/device/edge-ad-{node}/config"


def message(device: DeviceInfo) -> str:
    """The message: of each stream a problem, its score and threshold, a switch that pauses it, and what it dropped."""
    components: dict[str, Any] = {}
    for stream in device.streams:
        components.update(_components(device.node, stream))
    return json.dumps(
        {
            "dev": {
                "ids": [f"edge-ad-{device.node}"], "name": device.node, "mf": "edge-ad", "sw": device.version,
                "mdl": ", ".join(sorted({stream.detector for stream in device.streams})),
            },
            "o": {"name": "edge-ad", "sw": device.version},
            "cmps": components,
            "qos": 1,
        },
        sort_keys=True, separators=(",", ":"),
    )  # fmt: skip


def _components(node: str, stream: StreamInfo) -> dict[str, Any]:
    root = f"edge-ad/{node}"
    base = f"{root}/{stream.name}"
    # Offline as soon as either the device or this stream's source is.
    common = {
        "avty": [{"t": f"{root}/available"}, {"t": f"{base}/available"}], "avty_mode": "all",
    }  # fmt: skip

    def component(key: str, platform: str, name: str, **more: Any) -> tuple[str, dict[str, Any]]:
        identity = f"edge-ad-{node}-{stream.name}-{key}"
        return identity, {
            "p": platform,
            "uniq_id": identity,
            "name": f"{stream.name} {name}",
            **common,
            **more,
        }

    found = [
        component(
            "anomaly", "binary_sensor", "anomaly", dev_cla="problem", stat_t=f"{base}/state",
            val_tpl="{{ 'ON' if value_json.anomalous else 'OFF' }}", json_attr_t=f"{base}/state",
        ),
    ]  # fmt: skip
    if not stream.judged_here:
        return dict(found)
    found += [
        component(
            "score", "sensor", "score", stat_t=f"{base}/score", val_tpl="{{ value_json.score }}",
            stat_cla="measurement",
        ),
        component(
            "paused", "switch", "paused", cmd_t=f"{base}/cmd/pause", stat_t=f"{base}/health", ent_cat="config",
            val_tpl="{{ value_json.paused }}", stat_on="True", stat_off="False",
            pl_on='{"paused":true}', pl_off='{"paused":false}',
        ),
        component(
            "dropped", "sensor", "dropped frames", stat_t=f"{base}/health", val_tpl="{{ value_json.dropped }}",
            ent_cat="diagnostic", stat_cla="total_increasing",
        ),
    ]  # fmt: skip
    if stream.allowed is not None:
        low, high = stream.allowed
        found.append(
            component(
                "threshold",
                "number",
                "threshold",
                cmd_t=f"{base}/cmd/threshold",
                stat_t=f"{base}/state",
                cmd_tpl='{"value":{{ value }}}',
                val_tpl="{{ value_json.threshold }}",
                min=low,
                max=high,
                step=(high - low) / 1000 or 1e-6,
                mode="box",
                ent_cat="config",
            )
        )
    return dict(found)
