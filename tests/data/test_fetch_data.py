from __future__ import annotations

import importlib.util
import shutil
import urllib.request
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fetch_data.py"


@pytest.fixture
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_data", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tiny(tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small folder of the right layout, whose hash is the expected one in this test."""
    source = tmp_path / "source"
    for name in ("images/a.png", "segmaps/a.png", "train.csv", "test.csv", "metadata.csv", "README.md", "viadata.json"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    monkeypatch.setattr(script, "SHA256", script.content_hash(source))
    return source


def copying(source: Path):  # type: ignore[no-untyped-def]
    return lambda folder: shutil.copytree(source, folder, dirs_exist_ok=True)


def failing(folder: Path) -> None:
    (folder / "half").write_text("half")
    raise OSError("Could not resolve host: github.com")


def test_the_real_dataset_is_the_pinned_commit(
    data_dir: Path, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert script.main(["--into", str(data_dir / "emps")]) == 0
    assert "every byte as at commit dd8f86d714" in capsys.readouterr().out


def test_the_hash_sees_every_byte_and_name(tiny: Path, script: ModuleType) -> None:
    (tiny / "shapes.csv").write_text("beside it")
    script.verify(tiny)
    (tiny / "images" / "a.png").write_text("images/b.png")
    with pytest.raises(script.FetchError, match="differs from EMPS at commit"):
        script.verify(tiny)
    (tiny / "images" / "a.png").write_text("images/a.png")
    (tiny / "images" / "a.png").rename(tiny / "images" / "b.png")
    with pytest.raises(script.FetchError, match="differs from EMPS"):
        script.verify(tiny)
    (tiny / "train.csv").unlink()
    with pytest.raises(script.FetchError, match="is not EMPS: train.csv missing"):
        script.verify(tiny)


def test_the_second_way_is_tried_and_only_emps_is_kept(tiny: Path, tmp_path: Path, script: ModuleType) -> None:
    target = tmp_path / "data" / "emps"
    script.fetch(target, (failing, copying(tiny)))
    script.verify(target)
    assert sorted(p.name for p in target.iterdir()) == [
        "README.md",
        "images",
        "metadata.csv",
        "segmaps",
        "test.csv",
        "train.csv",
    ]
    assert [p.name for p in target.parent.iterdir()] == ["emps"]


def test_no_network(tiny: Path, tmp_path: Path, script: ModuleType) -> None:
    with pytest.raises(
        script.FetchError, match="(?s)could not be fetched.*Could not resolve host.*Without a network.*paths.data="
    ):
        script.fetch(tmp_path / "data" / "emps", (failing, failing))
    assert not list((tmp_path / "data").iterdir())


def test_other_content_never_appears(tiny: Path, tmp_path: Path, script: ModuleType) -> None:
    (tiny / "test.csv").write_text("manipulated")
    with pytest.raises(script.FetchError, match="differs from EMPS"):
        script.fetch(tmp_path / "data" / "emps", (copying(tiny),))
    assert not (tmp_path / "data" / "emps").exists()


def test_by_archive(tiny: Path, tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "emps.zip", "w") as archive:
        for path in (p for p in tiny.rglob("*") if p.is_file()):
            archive.write(path, f"emps-{script.COMMIT}/{path.relative_to(tiny)}")
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: (tmp_path / "emps.zip").open("rb"))
    script.fetch(tmp_path / "emps", (script.by_archive,))
    script.verify(tmp_path / "emps")
    fetched = {p.relative_to(tmp_path / "emps"): p.read_bytes() for p in (tmp_path / "emps").rglob("*") if p.is_file()}
    assert fetched and all((tiny / name).read_bytes() == content for name, content in fetched.items())


def test_by_git(tiny: Path, tmp_path: Path, script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a repository on this disk."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    run = lambda *command: script.subprocess.run(  # noqa: E731
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *command],
        cwd=tiny,
        check=True,
        capture_output=True,
        text=True,
    )
    run("init", "--quiet")
    run("add", ".")
    run("commit", "--quiet", "-m", "data")
    monkeypatch.setattr(script, "REPOSITORY", tiny.as_uri())
    monkeypatch.setattr(script, "COMMIT", run("rev-parse", "HEAD").stdout.strip())
    script.fetch(tmp_path / "emps", (script.by_git,))
    script.verify(tmp_path / "emps")
    monkeypatch.setattr(script, "COMMIT", "0" * 40)
    with pytest.raises(script.FetchError, match="by_git: git 0000"):
        script.fetch(tmp_path / "other", (script.by_git,))


def test_exit_codes_and_the_word_on_shapes(
    tiny: Path, tmp_path: Path, script: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert script.main(["--into", str(tiny)]) == 0
    assert "works without it, except choosing images by dataset.reader.shape" in capsys.readouterr().out
    assert script.main(["--into", str(tmp_path / "none"), "--verify-only"]) == 1
    assert "fetch_data: " in capsys.readouterr().err
    monkeypatch.setattr(script, "fetch", lambda into: failing(tmp_path))
    assert script.main(["--into", str(tmp_path / "none")]) == 1
    assert "Could not resolve host" in capsys.readouterr().err


def test_default_target(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEM_SEG_DATA", "/somewhere")
    assert script.default_target() == Path("/somewhere/emps")
    monkeypatch.delenv("TEM_SEG_DATA")
    assert script.default_target() == SCRIPT.parents[2] / "shared" / "data" / "emps"
