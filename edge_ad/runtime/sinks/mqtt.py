import json, threading
from urllib.parse import parse_qs, urlsplit
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from edge_ad.errors import SinkError
from edge_ad.runtime.events import Event, State
from edge_ad.runtime.notes import Availability, Health


class MqttSink:
    def __init__(self, host, port, node, ack, ack_timeout_s=10):
        self.name = f"mqtt://{host}:{port}/{node}"
        self.host, self.port, self.node, self.ack = host, port, node, ack
        self.window = 1 if ack else 100
        self.confirm_timeout_s = ack_timeout_s
        self.wake = lambda: None
        self.root = f"edge-ad/{node}"
        self.client = None
        self.gone = True
        self.done = []
        self.mids = {}
        self.lock = threading.Lock()
        self.online = False

    def introduce(self, device, on_command): pass

    def connect(self):
        if self.client is not None:
            self.client.disconnect(); self.client.loop_stop()
        answered = threading.Event(); 
        self.online = False
        with self.lock:
            self.done.clear(); self.mids.clear()
        c = Client(CallbackAPIVersion.VERSION2, client_id=f"edge-ad-{self.node}", clean_session=False, reconnect_on_failure=False)
        c.will_set(f"{self.root}/available", "offline", 1, True)
        state = {}
        def on_connect(cl, u, f, reason, p):
            state["reason"] = reason
            if self.ack and not reason.is_failure:
                cl.subscribe(f"{self.root}/+/event/ack", 1)
            else:
                answered.set()
        def on_disconnect(*a):
            self.gone = True; answered.set(); self.wake()
        def on_publish(cl, u, mid, *a):
            with self.lock:
                seq = self.mids.pop(mid, None)
                if seq is not None and not self.ack: self.done.append(seq)
                elif seq is None: self.mids[mid] = None
            self.wake()
        def on_message(cl, u, m):
            try: seq = json.loads(m.payload)["seq"]
            except Exception: return
            with self.lock: self.done += seq if isinstance(seq, list) else [seq]
            self.wake()
        c.on_connect, c.on_disconnect, c.on_publish, c.on_message = on_connect, on_disconnect, on_publish, on_message
        c.on_subscribe = lambda *a: answered.set()
        self.client = c
        self.gone = False
        try:
            c.connect(self.host, self.port, keepalive=30)
        except OSError as e:
            raise SinkError(f"no broker can be reached ({e})", where=self.name)
        c.loop_start()
        if not answered.wait(5) or self.gone:
            raise SinkError("the broker did not answer", where=self.name)

    def check(self):
        if self.gone: raise SinkError("connection lost", where=self.name)
        if not self.online:
            self.online = True
            self.client.publish(f"{self.root}/available", "online", 1, True)

    def send(self, r):
        self.check()
        kind = "event" if isinstance(r, Event) else "score"
        info = self.client.publish(f"{self.root}/{r.stream}/{kind}", r.to_json(), 1)
        with self.lock:
            if info.mid in self.mids: 
                self.mids.pop(info.mid); 
                if not self.ack: self.done.append(r.seq)
            else: self.mids[info.mid] = r.seq

    def confirmed(self):
        if self.gone: raise SinkError("connection lost", where=self.name)
        with self.lock:
            d, self.done = self.done, []
        return d

    def show(self, n):
        if self.gone: raise SinkError("connection lost", where=self.name)
        if isinstance(n, State): self.client.publish(f"{self.root}/{n.stream}/state", n.to_json(), 1, True)
        elif isinstance(n, Health): self.client.publish(f"{self.root}/{n.stream}/health", n.to_json(), 0, True)
        elif isinstance(n, Availability): self.client.publish(f"{self.root}/{n.stream}/available", "online" if n.online else "offline", 1, True)
        else: self.client.publish(f"{self.root}/{n.stream}/score", n.to_json())

    def crop(self, c): pass

    def close(self):
        if self.client is not None:
            if not self.gone:
                self.client.publish(f"{self.root}/available", "stopped", 1, True).wait_for_publish(2)
            self.client.disconnect(); self.client.loop_stop()


def open_mqtt(url, *, node, options=None):
    p = urlsplit(url); q = {k: v[0] for k, v in parse_qs(p.query).items()}; q.update(options or {})
    return MqttSink(p.hostname, p.port or 1883, p.path.strip("/") or node, bool(q.get("ack")), q.get("ack_timeout_s", 10))
