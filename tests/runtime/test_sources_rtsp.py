"""An RTSP camera, from handshake to pixels: a small server of RTSP (RFC 2326) with JPEG over RTP (RFC 2435)."""

from __future__ import annotations

import base64
import itertools
import socket
import struct
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from edge_ad.errors import SourceError
from edge_ad.runtime.images import import_cv2
from edge_ad.runtime.sources import open_source

HEIGHT, WIDTH = 64, 128


def picture(number: int) -> bytes:
    """A JPEG that grows ever more red, from 40 on in steps of 2."""
    image = np.full((HEIGHT, WIDTH, 3), (0, 0, min(40 + 2 * number, 255)), np.uint8)
    return bytes(import_cv2().imencode(".jpg", image)[1])


def rtp_packets(jpeg: bytes, number: int, sequence: Iterator[int]) -> Iterator[bytes]:
    """One picture as RTP packets: 4:2:0, its quantization tables in the first packet (Q = 255)."""
    tables, place = b"", 2
    while jpeg[place + 1] != 0xDA:
        size = struct.unpack_from(">H", jpeg, place + 2)[0]
        if jpeg[place + 1] == 0xDB:
            tables += b"".join(jpeg[i + 1 : i + 65] for i in range(place + 4, place + 2 + size, 65))
        place += 2 + size
    scan = jpeg[place + 2 + struct.unpack_from(">H", jpeg, place + 2)[0] : -2]
    for offset in range(0, len(scan), 1000):
        piece, last = scan[offset : offset + 1000], offset + 1000 >= len(scan)
        rtp = struct.pack(">BBHII", 0x80, 26 | last << 7, next(sequence) & 0xFFFF, number * 3000, 1)
        header = struct.pack(">II", offset, 1 << 24 | 255 << 16 | WIDTH // 8 << 8 | HEIGHT // 8)
        quantization = struct.pack(">BBH", 0, 0, len(tables)) + tables if offset == 0 else b""
        yield rtp + header + quantization + piece


class RtspCamera:
    """Serves one client after another, over the RTSP connection itself, until closed."""

    def __init__(self, login: str | None = None) -> None:
        self.login = None if login is None else base64.b64encode(login.encode()).decode()
        self.closed = threading.Event()
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self.closed.is_set():
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection:
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        for request in iter(lambda: connection.recv(4096).decode("latin1"), ""):
            method = request.split()[0]
            number = next(line for line in request.split("\r\n") if line.startswith("CSeq:"))
            head = f"{number}\r\nSession: 1\r\n"
            if self.login is not None and f"Basic {self.login}" not in request:
                connection.sendall(
                    f'RTSP/1.0 401 Unauthorized\r\n{head}WWW-Authenticate: Basic realm="x"\r\n\r\n'.encode()
                )
                continue
            body = ""
            if method == "OPTIONS":
                head += "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
            elif method == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\n"
                head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            elif method == "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            connection.sendall(f"RTSP/1.0 200 OK\r\n{head}\r\n{body}".encode())
            if method == "PLAY":
                return self._play(connection)
        return None

    def _play(self, connection: socket.socket) -> None:
        sequence = itertools.count()
        for number in itertools.count():
            if self.closed.wait(0.03):
                return
            try:
                for packet in rtp_packets(picture(number), number, sequence):
                    connection.sendall(b"$\x00" + struct.pack(">H", len(packet)) + packet)
            except OSError:
                return

    def close(self) -> None:
        self.closed.set()
        self.server.close()


@pytest.fixture
def camera(request: pytest.FixtureRequest) -> Iterator[RtspCamera]:
    camera = RtspCamera(getattr(request, "param", None))
    yield camera
    camera.close()


@pytest.mark.parametrize("camera", [None, "viewer:secret"], indirect=True)
def test_frames_of_an_rtsp_camera_come_as_rgb_and_newest_first(camera: RtspCamera) -> None:
    login = "viewer:secret@" if camera.login else ""
    source = open_source(f"rtsp://{login}127.0.0.1:{camera.port}/live", stall_s=10)
    assert source.name == f"rtsp://127.0.0.1:{camera.port}/live"
    reds = []
    for sample in source:
        assert sample.data.shape == (HEIGHT, WIDTH, 3) and sample.data[..., 1:].max() < 40
        reds.append(float(sample.data[..., 0].mean()))
        time.sleep(0.1)
        if len(reds) == 4:
            source.close()
    assert reds == sorted(reds) and reds[3] > reds[0]
    assert source.acquired - source.dropped == 4 and source.dropped > 0


@pytest.mark.parametrize("camera", ["viewer:secret"], indirect=True)
def test_a_wrong_password_is_an_error_that_does_not_show_it(camera: RtspCamera) -> None:
    with pytest.raises(SourceError, match="check address, login") as caught:
        open_source(f"rtsp://viewer:guess@127.0.0.1:{camera.port}/live", stall_s=5)
    assert "guess" not in str(caught.value)


def test_a_camera_that_goes_away_is_an_error(camera: RtspCamera) -> None:
    source = open_source(f"rtsp://127.0.0.1:{camera.port}/live", stall_s=5)
    with pytest.raises(SourceError, match=r"the stream ended|no frame for"):
        for _ in source:
            camera.close()
    source.close()
