"""A camera of the tests: MJPEG over HTTP, which can fall silent, end, die and come back."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from edge_ad.runtime.images import import_cv2

BITS = 16


def numbered(number: int) -> bytes:
    """A JPEG that carries its number as dark and bright stripes."""
    stripes = [255 * (number >> i & 1) for i in range(BITS)]
    image = np.repeat(np.array(stripes, np.uint8), 8)[None, :, None].repeat(64, 0).repeat(3, 2)
    return bytes(import_cv2().imencode(".jpg", image)[1])


def number_of(image: np.ndarray) -> int:
    return sum(int(image[32, 8 * i + 4, 1] > 127) << i for i in range(BITS))


class MjpegCamera:
    """It sends frames on a port of this machine until told to be silent, to end or to close."""

    def __init__(self, port: int = 0, first: int = 0) -> None:
        """port: 0 takes a free one. first: number of the first frame."""
        self.silent = threading.Event()
        self.ended = threading.Event()
        self.sent = first
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                while not camera.ended.is_set():
                    if not camera.silent.is_set():
                        jpeg = numbered(camera.sent)
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                        try:
                            self.wfile.write(head.encode() + jpeg + b"\r\n")
                        except OSError:
                            return
                        camera.sent += 1
                    time.sleep(0.02)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}/video"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
