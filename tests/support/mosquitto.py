import signal, socket, subprocess, time
class Mosquitto:
    def __init__(self, folder, **k):
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as s: self.port = s.getsockname()[1]
    def start(self):
        (self.folder / "c").write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\nuser root\n")
        self.p = subprocess.Popen(["mosquitto", "-c", str(self.folder / "c")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try: socket.create_connection(("127.0.0.1", self.port)).close(); return
            except OSError: time.sleep(0.02)
    def kill(self): self.p.send_signal(signal.SIGKILL); self.p.wait()
    def stop(self): self.p.terminate(); self.p.wait()
