import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models import atomic_folder
from models.atomic_folder import previous, recover, replacing

ROOT = Path(__file__).resolve().parents[2]
# Saves "new" over "old", and is killed by itself at one moment of the save.
KILLED_SAVE = """
import os, signal, sys
from pathlib import Path
from models import atomic_folder

moment, folder = sys.argv[1], Path(sys.argv[2])
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if "fallback" in moment:
    atomic_folder._exchange = lambda *_: False
if "between" in moment:
    rename, renames = Path.rename, []
    def counted(self, target):
        renames.append(target)
        return rename(self, target) if len(renames) < 2 else die()
    Path.rename = counted
if "after" in moment:
    sync = atomic_folder._sync
    atomic_folder._sync = lambda path: die() if path == folder.parent else sync(path)
with atomic_folder.replacing(folder) as staging:
    (staging / "file").write_text("new")
    if "writing" in moment:
        die()
"""


def save(folder: Path, text: str) -> None:
    with replacing(folder) as staging:
        (staging / "file").write_text(text)


@pytest.fixture(params=["exchange", "fallback"])
def _each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the atomic exchange of Linux, and as elsewhere."""
    if request.param == "fallback":
        monkeypatch.setattr(atomic_folder, "_exchange", lambda *_: False)


@pytest.mark.usefixtures("_each_way")
def test_a_folder_is_created_and_replaced_and_nothing_else_stays(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    save(folder, "one")
    save(folder, "two")
    assert (folder / "file").read_text() == "two"
    assert [p.name for p in folder.parent.iterdir()] == ["folder"]


@pytest.mark.usefixtures("_each_way")
def test_a_failed_save_leaves_the_old_folder(tmp_path: Path) -> None:
    save(tmp_path / "folder", "one")

    def save_half() -> None:
        with replacing(tmp_path / "folder") as staging:
            (staging / "file").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_half()
    assert (tmp_path / "folder" / "file").read_text() == "one"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is a call of Linux")
def test_linux_swaps_the_folders_in_one_step(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    assert atomic_folder._exchange(tmp_path / "a", tmp_path / "b")
    assert [(tmp_path / n / "file").read_text() for n in "ab"] == ["b", "a"]
    assert not atomic_folder._exchange(tmp_path / "a", tmp_path / "missing")


@pytest.mark.parametrize(
    ("moment", "survivor"),
    [
        ("writing", "old"),
        ("after exchange", "new"),
        ("fallback, writing", "old"),
        ("fallback, between", "old"),
        ("fallback, after", "new"),
    ],
)
def test_a_kill_at_any_moment_leaves_one_whole_folder(
    moment: str, survivor: str, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    save(folder, "old")
    command = [sys.executable, "-c", KILLED_SAVE, moment, str(folder)]
    process = subprocess.run(command, cwd=ROOT, check=False)
    assert process.returncode == -signal.SIGKILL
    assert folder.exists() == ("between" not in moment)
    assert previous(folder).exists() == (moment in ("fallback, between", "fallback, after"))
    recover(folder)
    assert (folder / "file").read_text() == survivor
    save(folder, "next")  # what the dead process left behind is no obstacle, and goes
    assert (folder / "file").read_text() == "next"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_place_is_an_os_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="folder"):
        save(tmp_path / "folder", "x")
