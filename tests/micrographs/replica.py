"""A small replica of an archive of micrographs, and a server on this computer that gives it out, well or badly."""

import csv
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
from PIL import Image

COLUMNS = (
    "micrograph_id,path,primary_microconstituent,detector,magnification,micron_bar,micron_bar_units,micron_bar_px,"
    "sample_key,label,anneal_temperature,anneal_temp_unit,anneal_time,anneal_time_unit,cool_method"
).split(",")
# (label, bar, unit, bar in px, magnification) and the period of its texture in px.
CLASSES = {
    "martensite": (("20.0", "um", "103", "982x"), 24),
    "network": (("200.0", "um", "103", "98X"), 60),
    "pearlite": (("500.0", "nm", "129", "49102x"), 8),
    "pearlite+spheroidite": (("10.0", "um", "129", ""), 12),
    "spheroidite": (("10.0", "um", "103", "1964X"), 16),
    "spheroidite+widmanstatten": (("20.0", "um", "154", "1473X"), 40),
    "pearlite+widmanstatten": (("5.0", "um", "129", "4910x"), 30),
}
# Two spellings of one treatment, two treatments more, a specimen without one, and no specimen at all.
SPECIMENS = (
    ("18.0", "AC1 800C 85H WQ", "800.0,C,85.0,H,WQ"),
    ("17.0", "AC1 800C 85H Q", "800.0,C,85.0,H,Q"),
    ("33.0", "AC1 970C 90M WQ-2C", "970.0,C,90.0,M,WQ-2C"),
    ("34.0", "AC1 970 5M FC", "970.0,C,5.0,M,FC"),
    ("42.0", "ET Gyro", ",,,,"),
    ("", "", ",,,,"),
)
HEIGHT, WIDTH, FIRST, LAST = 522, 645, 1, 481


def draw_picture(number: int, period_px: float) -> np.ndarray:
    """An image as the archive has them: a line above, 481 rows of micrograph, a black and white band below."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    wave = np.cos(2 * np.pi / period_px * (x + rng.uniform(0, 60))) * np.cos(np.pi / period_px * y)
    # Patches of its own on each: pictures that differ by noise alone are taken for copies.
    patches = cv2.resize(rng.standard_normal((24, 32)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    picture = 128 + 10 * wave + 40 * patches + rng.normal(0, 12, wave.shape)
    picture = np.clip(picture, 1, 254).astype(np.uint8)
    picture[:FIRST] = 255
    picture[LAST + 1 :] = np.where((x[LAST + 1 :] // 20) % 2, 255, 0)
    return picture


def make_replica(folder, *, images_a_specimen: int = 1, classes=tuple(CLASSES), specimens=SPECIMENS):
    """Write metadata.csv, manifest.json and the images: TIFF, grey PNG and RGB PNG in turn."""
    (folder / "micrographs").mkdir(parents=True)
    rows, number = [], 0
    for label in classes:
        (bar, unit, bar_px, magnification), period_px = CLASSES[label]
        for sample, treatment, anneal in specimens:
            for _ in range(images_a_specimen):
                number += 1
                path = f"micrograph{number}.{'tif' if number % 3 else 'png'}"
                picture = Image.fromarray(draw_picture(number, period_px))
                (picture.convert("RGB") if number % 6 == 0 else picture).save(folder / "micrographs" / path)
                image = [number, path, label, "SE", magnification, bar, unit, bar_px]
                rows.append([*image, sample, treatment, *anneal.split(",")])
    with open(folder / "metadata.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    write_list(folder)
    return folder


def write_list(folder) -> None:
    """manifest.json, as the mirror has it, of what lies in the folder now."""
    files = {
        path.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"mirrored": "2026-09-19", "files": files}, indent=2))


class Server:
    """An HTTP server on 127.0.0.1; ``faults`` maps a file's name to what goes wrong with it, one request after the other.

    A fault is a status, "broken off" (half of the bytes, then the end), "other bytes", or "hang up" (no answer at all);
    the name "*" is for whatever is asked for. After ``stops_after`` requests every one is hung up on; each waits ``slow`` s.
    """

    def __init__(self, folder, port: int = 0):
        self.folder, self.faults, self.asked, self.stops_after, self.slow = folder, {}, [], None, 0.0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.split("/data/")[-1]
                with lock:
                    server.asked.append(name)
                    todo = server.faults.get(name) or server.faults.get("*") or []
                    fault = todo.pop(0) if todo else None
                    if server.stops_after is not None and len(server.asked) > server.stops_after:
                        fault = "hang up"
                threading.Event().wait(server.slow)  # not sleep(), which the tests leave out
                server.answer(self, name, fault)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/data/"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, handler, name, fault) -> None:
        path = self.folder / name
        if fault == "hang up":
            handler.close_connection = True
            return
        if isinstance(fault, tuple):
            handler.send_response(fault[0])
            for key, value in fault[1].items():
                handler.send_header(key, value)
            handler.end_headers()
            return
        if isinstance(fault, int) or not path.is_file():
            handler.send_error(fault or 404)
            return
        content = path.read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        if fault == "other bytes":
            content = content[:-1] + bytes([content[-1] ^ 1])
        handler.wfile.write(content[: len(content) // 2] if fault == "broken off" else content)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
