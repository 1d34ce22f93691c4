"""Download files by their hash: whole or not at all, five at a time, over https."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import urlsplit

import pooch
import requests
from requests.adapters import HTTPAdapter
from tqdm.auto import tqdm
from urllib3.exceptions import NewConnectionError
from urllib3.util import Retry

AT_ONCE = 5
# Further attempts at a file whose connection failed, broke off, or brought other bytes; pooch waits 1, 2, 3, ... s.
ATTEMPTS_MORE = 4
SECONDS_TO_CONNECT, SECONDS_OF_SILENCE = 10, 60
SECONDS_BETWEEN_LINES = 10.0
LARGEST_BYTES = 100_000_000  # of a file whose size nobody has promised
# A server that is busy is asked again after 1, 2, 4 s, or when it says.
WHEN_BUSY = Retry(
    total=None, connect=0, read=False, other=0, status=3, status_forcelist=(408, 429, 500, 502, 503, 504),
    backoff_factor=1, retry_after_max=60, raise_on_status=False,
)  # fmt: skip


class DownloadError(RuntimeError):
    """A file that could not be fetched; the message says what to do."""


class _Refused(DownloadError):
    """An answer that no further attempt would change."""


def check_url(url: str) -> None:
    """Refuse every address but https, and http to this very computer.

    Raises
    ------
    DownloadError
        For any other address.
    """
    scheme = host = ""
    with contextlib.suppress(ValueError):  # what is no address at all
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not host or not (scheme == "https" or (scheme == "http" and loopback)):
        raise _Refused(f"{url}: micrographs are fetched over https only; give an address that begins with https://")


class _Session(requests.Session):
    def send(self, request, **options):
        check_url(request.url)  # where a redirect leads, too
        return super().send(request, **options)


class _Progress:
    """Bytes done and time left: a bar in a terminal, elsewhere a plain line every ten seconds."""

    def __init__(self, description: str, n_bytes: int):
        self.description, self.total = description, n_bytes
        self.done, self.begun, self.said = 0, time.monotonic(), time.monotonic()
        self.lock = threading.Lock()
        seen = n_bytes > 0 and sys.stderr.isatty()
        self.bar = tqdm(total=n_bytes, desc=description, unit="B", unit_scale=True) if seen else None

    def add(self, n_bytes: int) -> None:
        with self.lock:
            self.done += n_bytes
            if self.bar is not None:
                self.bar.update(n_bytes)
                return
            now = time.monotonic()
            if now - self.said >= SECONDS_BETWEEN_LINES and 0 < self.done < self.total:
                self.said = now
                minutes, seconds = divmod(round((now - self.begun) * (self.total - self.done) / self.done), 60)
                print(f"{self.description}: {self.done / 1e6:.1f} of {self.total / 1e6:.1f} MB, "
                      f"about {minutes}:{seconds:02d} left", file=sys.stderr, flush=True)  # fmt: skip

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class _Downloader:
    """What pooch calls for one file; it counts the bytes and stops where another attempt is of no use."""

    def __init__(self, session: requests.Session, sizes: dict[str, int], progress: _Progress):
        self.session, self.sizes, self.progress = session, sizes, progress

    def __call__(self, url: str, output_file, _pooch) -> None:
        received, at_most = 0, self.sizes.get(url, LARGEST_BYTES)
        try:
            timeout = (SECONDS_TO_CONNECT, SECONDS_OF_SILENCE)
            with self.session.get(url, stream=True, timeout=timeout) as response, open(output_file, "wb") as file:
                if not response.ok:
                    hint = "the archive has no such file" if response.status_code == 404 else "the server refuses it"
                    raise _Refused(f"{url}: {response.status_code} {response.reason}: {hint}")
                for chunk in response.iter_content(1 << 16):
                    received += len(chunk)
                    self.progress.add(len(chunk))
                    if received > at_most:
                        raise ValueError(f"more than the {at_most} bytes that were promised")
                    file.write(chunk)
        except BaseException:
            self.progress.add(-received)
            raise


def is_whole(path: Path, promised: dict) -> bool:
    """Whether a file is there with the ``sha256`` promised; without one, whether it is there."""
    known = promised.get("sha256")
    return path.is_file() and (not known or pooch.file_hash(path) == known)


def fetch_files(base_url: str, files: dict[str, dict], folder, *, description: str, by_hand: str) -> int:
    """Fetch the files that are not in the folder yet, each checked by its hash before it gets its name.

    A file that is there and whole is left alone, so a download that was cut short goes on where it stopped; one that
    is there and is not whole is fetched anew. Proxies are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``).

    Parameters
    ----------
    base_url : str
        What the files' names are appended to.
    files : dict
        Name (with ``/`` between folders) to ``{"sha256": ..., "bytes": ...}``; either may be missing.
    folder : path
    description : str
        Begins each line of progress.
    by_hand : str
        What to do without a network, a clause that goes on from "or".

    Returns
    -------
    int
        How many files were fetched.

    Raises
    ------
    DownloadError
        In one sentence or two: what failed, how much is here, and what to do.
    """
    folder, base_url = Path(folder), base_url.rstrip("/") + "/"
    check_url(base_url)
    missing = [name for name, promised in files.items() if not is_whole(folder / name, promised)]
    if not missing:
        return 0
    known = {name: (f"sha256:{files[name]['sha256']}" if files[name].get("sha256") else None) for name in missing}
    store = pooch.create(folder, base_url, registry=known, retry_if_failed=ATTEMPTS_MORE)
    pooch.get_logger().setLevel("WARNING")  # two lines a file say nothing that the progress does not
    sizes = {base_url + name: files[name]["bytes"] for name in missing if "bytes" in files[name]}
    progress = _Progress(description, sum(sizes.values()))
    session = _Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_maxsize=AT_ONCE, max_retries=WHEN_BUSY))
    download = _Downloader(session, sizes, progress)
    # Not a `with` block: its end would wait for everything that is still in line.
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        for name in missing:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if not known[name]:  # pooch would take whatever lies there for the file
                (folder / name).unlink(missing_ok=True)
        tasks = {pool.submit(store.fetch, name, downloader=download): name for name in missing}
        for task in as_completed(tasks):
            name = tasks[task]
            task.result()
    except (DownloadError, OSError, ValueError) as error:
        pool.shutdown(wait=True, cancel_futures=True)
        here = sum(is_whole(folder / n, promised) for n, promised in files.items())
        kept = f"{here} of {len(files)} files are here and stay"
        raise DownloadError(_explanation(error, f"{base_url}{name}", kept, by_hand)) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        progress.close()
        session.close()
    return len(missing)


def _cause(error: requests.RequestException) -> str:
    """What went wrong on the way, without the objects that requests wraps around it."""
    inner = getattr(error.args[0], "reason", None) if error.args else None
    for kind, what in (
        (requests.exceptions.SSLError, "the server's certificate is not trusted"),
        (requests.exceptions.ProxyError, "the proxy of the environment does not answer"),
        (requests.exceptions.Timeout, "no answer in time"),
    ):
        if isinstance(error, kind):
            return what
    if isinstance(inner, NewConnectionError):
        return str(inner).rsplit("] ", 1)[-1].rstrip(")")  # of "... [Errno 111] Connection refused"
    return "the connection broke off"


def _explanation(error: Exception, url: str, kept: str, by_hand: str) -> str:
    """What failed, how much is here, and what to do."""
    if isinstance(error, DownloadError):
        return f"{error}; {kept}"
    if isinstance(error, requests.RequestException):  # which is an OSError too
        return (
            f"{url}: could not be fetched ({_cause(error)}); {kept}. With a network, run the same command again; without "
            f"one, {by_hand}, and run it again"
        )
    if isinstance(error, ValueError):
        # pooch's text names two hashes and a temporary file; what counts is that the bytes are not the promised ones.
        return (
            f"{url}: what came is not the file that was promised (its sha256 differs), in {ATTEMPTS_MORE + 1} attempts, and "
            f"is not used; {kept}. Try again later; if that does not help, {by_hand}, and run it again"
        )
    return f"{error.filename or url}: cannot be written ({error.strerror or error}); {kept}"
