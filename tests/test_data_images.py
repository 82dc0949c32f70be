"""Images in files: layouts, formats, what is odd or broken, archives that are unsafe, the cache."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lanework.data import image_cache, image_decode, image_files, load, peek
from lanework.errors import DataError, SpecError
from lanework.spec import DataSpec, load_study
from tests.helpers import data_folder, lanework


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LANEWORK_CACHE", str(folder))
    return folder


def pixels(number: int, size: tuple[int, int] = (8, 8), channels: int = 3) -> np.ndarray:
    shape = (*size, channels) if channels > 1 else size
    return np.random.default_rng(number).integers(0, 256, shape).astype(np.uint8)


def encoded(array: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, form, **options)
    return out.getvalue()


def folder_of(base: Path, classes: dict[str, int], *, size: tuple[int, int] = (8, 8)) -> Path:
    """PNG images in class folders; keys may have a part in front (train/cat)."""
    number = 0
    for name, count in classes.items():
        (base / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            number += 1
            (base / name / f"{number:03d}.png").write_bytes(encoded(pixels(number, size)))
    return base


def zip_of(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder).as_posix())
    return path


def read(source: Path, **changes: Any):
    return load(DataSpec.model_validate({"source": str(source), **changes}))


def told(data: Any) -> str:
    return "\n".join(data.summary["decisions"])


# Layouts


def test_a_folder_of_class_folders_is_split(tmp_path):
    data = read(folder_of(tmp_path / "pets", {"cat": 20, "dog": 20}))
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.val), len(data.test)) == (28, 6, 6)
    assert data.train.x.shape == (28, 8, 8, 3)
    assert data.train.x.dtype == np.uint8
    assert data.input.kind == "image"
    assert "40 images of 8 x 8 pixels, red, green, blue." in told(data)
    # Every image is there, with its own class.
    whole = np.concatenate([data.train.x, data.val.x, data.test.x])
    classes = np.concatenate([data.train.y, data.val.y, data.test.y])
    found = {image.tobytes(): label for image, label in zip(whole, classes, strict=True)}
    for number in range(1, 41):
        assert found[pixels(number).tobytes()] == (number > 20)


@pytest.mark.parametrize("is_zip", [False, True])
def test_parts_of_the_folders_are_kept(tmp_path, is_zip):
    parts = {"train/a": 12, "train/b": 12, "val/a": 3, "val/b": 3, "test/a": 5, "test/b": 4}
    source = folder_of(tmp_path / "set" / "inner", parts).parent
    data = read(zip_of(source, tmp_path / "set.zip") if is_zip else source)
    assert (len(data.train), len(data.val), len(data.test)) == (24, 6, 9)
    assert np.bincount(data.test.y).tolist() == [5, 4]
    assert "The parts train, val, test are those of the folders." in told(data)


def test_without_a_validation_folder_it_is_split_off(tmp_path):
    source = folder_of(tmp_path / "s", {"train/a": 20, "train/b": 20, "test/a": 4, "test/b": 4})
    data = read(source, split={"train": 0.8, "val": 0.2, "test": 0.0})
    assert (len(data.train), len(data.val), len(data.test)) == (32, 8, 8)


def test_without_a_test_folder_it_is_split_off_the_training_part(tmp_path):
    source = folder_of(tmp_path / "s", {"train/a": 20, "train/b": 20, "valid/a": 4, "valid/b": 4})
    data = read(source, split={"train": 0.6, "val": 0.2, "test": 0.2})
    assert (len(data.train), len(data.val), len(data.test)) == (30, 8, 10)
    assert "the test part was split off its training part" in told(data)


def test_a_class_may_be_called_train(tmp_path):
    data = read(folder_of(tmp_path / "traffic", {"car": 10, "train": 10, "bus": 10}))
    assert data.classes == ("bus", "car", "train")


def test_other_files_and_images_without_a_class_are_told(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 10, "b": 10})
    (source / "notes.txt").write_text("x")
    (source / ".DS_Store").write_text("x")
    (source / "loose.png").write_bytes(encoded(pixels(1)))
    data = read(source)
    assert "1 image outside of a class folder not used: 'loose.png'." in told(data)
    assert "1 other file not used: 'notes.txt'." in told(data)


def test_images_without_folders_are_refused(tmp_path):
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(encoded(pixels(1)))
    with pytest.raises(DataError, match=r"must have a folder for each class.*got 1 image without"):
        read(tmp_path / "flat")


def test_an_unknown_class_at_test_is_named(tmp_path):
    source = folder_of(tmp_path / "s", {"train/a": 9, "train/b": 9, "test/a": 3, "test/zebra": 2})
    with pytest.raises(DataError, match=r"column 'class': must hold only labels.*got 'zebra' in 2"):
        read(source)


def test_a_test_folder_of_its_own(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 10, "b": 10})
    held = folder_of(tmp_path / "t", {"b": 3, "a": 2})
    data = read(source, test=str(held))
    assert np.bincount(data.test.y).tolist() == [2, 3]
    small = folder_of(tmp_path / "u", {"a": 2, "b": 2}, size=(6, 8))
    with pytest.raises(DataError, match=r"of 8 x 8 pixels as in training.*Set data.image_size"):
        read(source, test=str(small))


def test_a_target_is_refused_beside_class_folders(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 4, "b": 4})
    with pytest.raises(DataError, match=r"data.target: must be left out for images in class"):
        read(source, target="label")


# Formats and colours


def one(data: bytes, size: int | None = None) -> tuple[np.ndarray, set[str]]:
    array, notes = image_decode.decode(data, image_size=size)
    return array, set(notes)


@pytest.mark.parametrize(
    ("form", "tolerance"), [("PNG", 0), ("BMP", 0), ("WEBP", 0), ("JPEG", 60), ("GIF", 60)]
)
def test_formats(form, tolerance):
    smooth = np.add.outer(np.arange(16) * 8, np.arange(16) * 6)[..., None] + np.array([0, 10, 20])
    array = smooth.astype(np.uint8)
    options = {"lossless": True} if form == "WEBP" else {}
    decoded, _ = one(encoded(array, form, **options))
    assert decoded.shape == (16, 16, 3)
    assert np.abs(decoded.astype(int) - array).max() <= tolerance


def test_grey_transparent_palette_and_deep_images():
    grey = pixels(1, channels=1)
    assert np.array_equal(one(encoded(grey))[0], grey)
    deep = grey.astype(np.uint16) * 257
    decoded, notes = one(encoded(deep))
    assert np.array_equal(decoded, grey)
    assert notes == {"deep"}
    clear = np.dstack([pixels(2), np.zeros((8, 8), np.uint8)])
    decoded, notes = one(encoded(clear))
    assert (decoded == 255).all()
    assert notes == {"transparent"}
    solid = np.dstack([pixels(2), np.full((8, 8), 255, np.uint8)])
    assert np.array_equal(one(encoded(solid))[0], pixels(2))
    out = io.BytesIO()
    Image.fromarray(pixels(3)).quantize(256).save(out, "PNG")
    decoded, notes = one(out.getvalue())
    assert decoded.shape == (8, 8, 3)
    assert notes == {"palette"}
    out = io.BytesIO()
    Image.fromarray(pixels(3)).convert("CMYK").save(out, "JPEG")
    assert one(out.getvalue())[1] == {"converted"}


def test_a_photo_is_turned_as_the_camera_noted_and_a_film_gives_its_first_frame():
    array = np.zeros((8, 16, 3), np.uint8)
    array[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    Image.fromarray(array).save(out, "JPEG", exif=exif, quality=95)
    decoded, notes = one(out.getvalue())
    assert decoded.shape == (16, 8, 3)
    assert decoded[0].min() > 250
    assert decoded[-1].max() < 5
    assert notes == {"turned"}
    frames = [Image.fromarray(np.full((4, 4), v, np.uint8)) for v in (10, 200)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    decoded, notes = one(out.getvalue())
    assert np.unique(decoded).tolist() == [10]
    assert "frames" in notes


def test_grey_images_beside_coloured_ones_get_three_channels(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 8, "b": 8})
    (source / "a" / "grey.png").write_bytes(encoded(pixels(99, channels=1)))
    data = read(source)
    assert data.train.x.shape[-1] == 3
    assert "1 image in grey given three equal channels" in told(data)


def test_grey_images_have_one_channel_and_a_coloured_test_part_follows(tmp_path):
    for part, channels in (("s", 1), ("t", 3)):
        for name in "ab":
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(8):
                array = pixels(number + 10 * ord(name), channels=channels)
                (tmp_path / part / name / f"{number}.png").write_bytes(encoded(array))
    data = read(tmp_path / "s", test=str(tmp_path / "t"))
    assert data.train.x.shape[1:] == (8, 8, 1)
    assert data.test.x.shape[1:] == (8, 8, 1)
    assert "16 images in colour turned to grey" in told(data)


# Sizes


def test_images_of_another_size_are_named_with_what_to_do(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 8, "b": 8})
    folder_of(source, {"b/odd": 2}, size=(10, 12))
    with pytest.raises(
        DataError,
        match=r"must hold images of one size, got 2 images of another size.*'b/odd/001.png \(12 x 10\)'.*beside 16 of "
        r"8 x 8. Set data.image_size, for example 8",
    ):
        read(source)
    data = read(source, image_size=8)
    assert data.train.x.shape[1:] == (8, 8, 3)
    assert "2 images resized (shorter side to 8 pixels, then cut to the middle)." in told(data)


def test_resizing_keeps_the_middle():
    array = np.zeros((10, 30, 3), np.uint8)
    array[:, 10:20] = 200
    decoded, _ = one(encoded(array), size=10)
    assert decoded.shape == (10, 10, 3)
    assert (decoded == 200).all()
    assert one(encoded(array), size=5)[0].shape == (5, 5, 3)
    assert one(encoded(array, "JPEG"), size=2)[0].shape == (2, 2, 3)


def test_image_size_is_refused_where_there_are_no_images(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    for source in (str(tmp_path / "t.csv"), "digits"):
        with pytest.raises(DataError, match=r"data.image_size: must be left out unless"):
            load(DataSpec(source=source, target="b", image_size=8))


# Broken images


def test_broken_images_are_left_out_named_and_counted(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 10, "b": 10})
    (source / "a" / "empty.png").write_bytes(b"")
    whole = encoded(pixels(5, (64, 64)))
    (source / "a" / "half.png").write_bytes(whole[: len(whole) // 2])
    (source / "b" / "text.jpg").write_bytes(b"no image at all")
    data = read(source)
    assert sum(len(p) for p in (data.train, data.val, data.test)) == 20
    sentence = next(text for text in data.summary["decisions"] if "cannot be read" in text)
    assert sentence.startswith(
        "3 images left out, as they cannot be read: a/empty.png (empty file)"
    )
    assert "a/half.png (broken: " in sentence
    assert "b/text.jpg (no PNG, JPEG, BMP, GIF or WebP image)" in sentence


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_never_a_traceback(seed):
    rng = np.random.default_rng(seed)
    form = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "PNG")[seed % 6]
    data = bytearray(encoded(pixels(seed, (16, 16)), form))
    for place in rng.integers(0, len(data), 12):
        data[place] = int(rng.integers(0, 256))
    cut = bytes(data[: int(rng.integers(20, len(data) + 1))])
    with contextlib.suppress(image_decode._Unreadable):
        assert one(cut)[0].dtype == np.uint8


def test_too_many_broken_images_of_a_class_are_an_error(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 3, "b": 20})
    for number in range(4):
        (source / "a" / f"bad{number}.png").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"got 4 of 7 images of class 'a' that cannot, such as 'a/bad0.png' \(empty"
    ):
        read(source)


def test_an_image_made_to_fill_the_memory_is_not_decoded(monkeypatch):
    monkeypatch.setattr(image_decode, "MAX_PIXELS", 100)
    with pytest.raises(image_decode._Unreadable, match="16 x 16 pixels, more than is safe"):
        image_decode.decode(encoded(pixels(1, (16, 16))))


# Archives


def archive(path: Path, files: dict[str, bytes], **options: Any) -> Path:
    with zipfile.ZipFile(path, "w", **options) as made:
        for name, data in files.items():
            made.writestr(name, data)
    return path


def test_names_that_lead_out_of_the_archive_are_refused(tmp_path):
    image = encoded(pixels(1))
    for name in ("../../evil.png", "/etc/x.png", "C:\\x.png", "a/../../b.png"):
        path = archive(tmp_path / "bad.zip", {"a/1.png": image, name: image})
        with pytest.raises(DataError, match=r"names inside of the archive, got '.*lead out of it"):
            read(path)
    link = zipfile.ZipInfo("a/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as made:
        made.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="or is a link"):
        read(tmp_path / "link.zip")


def test_a_zip_bomb_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "GROWTH_FREE_BYTES", 2**16)
    files = {"a/1.png": encoded(pixels(1)), "b/2.png": bytes(2**22)}
    path = archive(tmp_path / "bomb.zip", files, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(
        DataError, match=r"must not grow more than 100 times when unpacked, got \d+"
    ):
        read(path)


def test_a_truncated_zip_and_a_damaged_member(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 8, "b": 8})
    path = zip_of(source, tmp_path / "s.zip")
    whole = path.read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut.zip"):
        read(tmp_path / "cut.zip")
    place = whole.index(b"IDAT") + 20
    path.write_bytes(whole[:place] + b"\0\0\0\0" + whole[place + 4 :])
    data = read(path)
    assert "1 image left out, as it cannot be read: a/001.png (broken in the archive" in told(data)


# Parquet with image bytes


def parquet(path: Path, numbers: range, *, names: bool = True, **columns: Any) -> Path:
    images = [{"bytes": encoded(pixels(n)), "path": f"{n}.png"} for n in numbers]
    table = pa.table({"image": images, "label": [n % 2 for n in numbers], **columns})
    if names:
        features = {
            "image": {"_type": "Image"},
            "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        }
        record = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": record})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_a_parquet_file_with_image_bytes(tmp_path):
    data = read(parquet(tmp_path / "x.parquet", range(40)))
    assert data.classes == ("cat", "dog")
    assert data.train.x.shape == (28, 8, 8, 3)
    assert "Images are read from column 'image', labels from 'label'." in told(data)
    found = {image.tobytes(): int(y) for image, y in zip(data.train.x, data.train.y, strict=True)}
    numbers = {pixels(n).tobytes(): n % 2 for n in range(40)}
    assert all(numbers[image] == label for image, label in found.items())


def test_parts_of_parquet_files_by_their_names_and_patterns(tmp_path):
    folder = tmp_path / "data"
    parquet(folder / "train-00000-of-00002.parquet", range(20))
    parquet(folder / "train-00001-of-00002.parquet", range(20, 40))
    parquet(folder / "test-00000-of-00001.parquet", range(40, 50))
    data = read(folder)
    assert (len(data.train) + len(data.val), len(data.test)) == (40, 10)
    only = read(folder / "train-*.parquet")
    assert sum(len(p) for p in (only.train, only.val, only.test)) == 40
    with pytest.raises(DataError, match=r"must fit files, got .*which fits none"):
        read(folder / "nothing-*.parquet")


def test_labels_of_another_name_and_images_without_bytes(tmp_path):
    path = parquet(tmp_path / "x.parquet", range(12), names=False, kind=["p", "q"] * 6)
    assert read(path, target="kind").classes == ("p", "q")
    with pytest.raises(
        DataError, match=r"data.target: must be a column of x.parquet, got 'kin'. Did"
    ):
        read(path, target="kin")
    images = [{"bytes": encoded(pixels(n)), "path": ""} for n in range(9)]
    images.append({"bytes": None, "path": "far/away.png"})
    table = pa.table({"image": images, "label": [0, 1] * 5})
    pq.write_table(table, tmp_path / "y.parquet")
    assert "row 10 (only a path (far/away.png), no bytes)" in told(read(tmp_path / "y.parquet"))
    pq.write_table(table.rename_columns(["image", "what"]), tmp_path / "z.parquet")
    with pytest.raises(DataError, match=r"must name the column of the labels in z.parquet"):
        read(tmp_path / "z.parquet")


# The cache, looking ahead, and the command line


def test_a_second_start_decodes_nothing_and_a_changed_file_anew(tmp_path, monkeypatch):
    source = folder_of(tmp_path / "s", {"a": 8, "b": 8})
    (source / "a" / "bad.png").write_bytes(b"")
    first = read(source)
    calls = []
    plain = image_decode.decode
    monkeypatch.setattr(
        image_decode, "decode", lambda *a, **k: (calls.append(1), plain(*a, **k))[1]
    )
    second = read(source)
    assert not calls
    assert second.fingerprint == first.fingerprint
    assert second.summary == first.summary
    read(source, image_size=4)
    assert len(calls) == 17
    changed = source / "a" / "001.png"
    changed.write_bytes(encoded(pixels(77)))
    os.utime(changed, ns=(1, 1))
    assert read(source).fingerprint != first.fingerprint
    monkeypatch.setenv("LANEWORK_CACHE", "off")
    calls.clear()
    read(source)
    assert len(calls) == 17


def test_the_cache_survives_damage_and_stays_small(tmp_path, own_cache, monkeypatch):
    source = folder_of(tmp_path / "s", {"a": 8, "b": 8})
    first = read(source)
    (entry,) = (own_cache / "images").iterdir()
    (entry / "x.npy").write_bytes(b"damaged")
    assert read(source).fingerprint == first.fingerprint
    monkeypatch.setattr(image_cache, "MAX_BYTES", 3000)
    read(source, image_size=4)
    read(source, image_size=5)
    assert len(list((own_cache / "images").iterdir())) <= 2


def test_peek_takes_folders_and_archives(tmp_path):
    source = folder_of(tmp_path / "s", {"a": 2, "b": 2})
    for path in (source, zip_of(source, tmp_path / "s.zip")):
        assert peek(DataSpec(source=str(path))) == []


def test_image_size_is_checked(tmp_path):
    (tmp_path / "s.yaml").write_text("study: s\ndata: {source: ./x, image_size: 1}\n")
    with pytest.raises(SpecError, match=r"data.image_size: must be >= 2, got 1"):
        load_study(tmp_path / "s.yaml")


@pytest.mark.slow
def test_a_study_on_a_folder_of_images(tmp_path):
    folder_of(tmp_path / "pets", {"cat": 20, "dog": 20})
    (tmp_path / "s.yaml").write_text(
        "study: s\ndata: {source: ./pets}\nmodel: {net: cnn, channels: [4], dense: [8]}\n"
        "train: {epochs: 1, augment: [flip, {name: crop, padding: 2}]}\n"
    )
    done = lanework("run", "s.yaml", "--quiet", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.data
@pytest.mark.slow
def test_the_cifar_subset():
    data = read(data_folder() / "cifar10-subset" / "cifar10-subset.zip")
    assert (len(data.train) + len(data.val), len(data.test)) == (8000, 2000)
    assert data.train.x.shape[1:] == (32, 32, 3)
    assert len(data.classes) == 10
