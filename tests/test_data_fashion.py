"""Fashion-MNIST by name: found, downloaded from a small server, damaged, or not to be had."""

import gzip
import hashlib
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from lanework.data import fashion, load
from lanework.errors import DataError
from lanework.spec import DataSpec


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def write_family(folder: Path) -> dict[str, str]:
    """A tiny Fashion-MNIST look-alike; file name to MD5."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    sums = {}
    for part, number in (("train", 60), ("t10k", 20)):
        labels = np.arange(number) % 10
        images = generator.integers(0, 256, (number, 28, 28))
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / f"{part}-{name}-ubyte.gz"
            path.write_bytes(idx_bytes(array))
            sums[path.name] = hashlib.md5(path.read_bytes()).hexdigest()
    return sums


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A server with the files on this machine, and an empty cache."""
    sums = write_family(tmp_path / "www")
    monkeypatch.setattr(fashion, "FILES", sums)
    monkeypatch.delenv("LANEWORK_DATA", raising=False)
    monkeypatch.setenv("LANEWORK_CACHE", str(tmp_path / "cache"))
    handler = partial(Quiet, directory=str(tmp_path / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_it_is_downloaded_checked_and_kept(served, tmp_path):
    loaded = fashion.fashion_mnist(served)
    assert loaded.features.shape == (60, 28, 28, 1)
    assert loaded.test is not None
    assert loaded.test.features.shape == (20, 28, 28, 1)
    assert "checked by MD5" in loaded.decisions[0]
    folder = tmp_path / "cache" / "data" / "fashion-mnist"
    assert {path.name for path in folder.iterdir()} == set(fashion.FILES)
    again = fashion.fashion_mnist("http://127.0.0.1:9/")  # not needed any more
    assert again.decisions == ()
    np.testing.assert_array_equal(again.features, loaded.features)


def test_a_wrong_checksum_leaves_nothing_behind(served, tmp_path):
    path = tmp_path / "file.gz"
    with pytest.raises(DataError, match=r"must have the MD5 sum 00, got [0-9a-f]{32}"):
        fashion.fetch_file(served + "t10k-labels-idx1-ubyte.gz", path, md5="00")
    assert not list(tmp_path.glob("*file.gz*"))


def test_no_network_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setenv("LANEWORK_DATA", str(tmp_path / "mine"))
    monkeypatch.setenv("LANEWORK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError) as caught:
        fashion.fashion_mnist("http://127.0.0.1:9/")
    text = str(caught.value)
    assert "needs four files that are on this machine or can be downloaded" in text
    assert "Connection refused" in text
    assert str(tmp_path / "mine") in text
    assert "LANEWORK_DATA" in text
    for name, md5 in fashion.FILES.items():
        assert f"{name}  (MD5 {md5})" in text


def test_an_address_must_be_of_the_web(tmp_path):
    with pytest.raises(DataError, match=r"must use http or https, got file:///etc/passwd"):
        fashion.fetch_file("file:///etc/passwd", tmp_path / "x", md5="")


def test_the_data_folder_comes_first_and_the_set_loads_by_name(tmp_path, monkeypatch):
    write_family(tmp_path / "fashion-mnist")
    monkeypatch.setenv("LANEWORK_DATA", str(tmp_path))
    data = load(DataSpec(source="fashion-mnist"))
    assert data.classes[0] == "T-shirt/top"
    assert data.num_outputs == 10
    assert data.train.x.dtype == np.uint8
    assert [len(part) for part in (data.train, data.val, data.test)] == [49, 11, 20]
    assert "the test part is a set of its own" in " ".join(data.summary["decisions"])


def test_a_truncated_file_in_the_folder_is_named(tmp_path, monkeypatch):
    write_family(tmp_path)
    whole = (tmp_path / "train-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(whole[: len(whole) // 2])
    monkeypatch.setenv("LANEWORK_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte\.gz: must be readable to its end"
    ):
        load(DataSpec(source="fashion-mnist"))
