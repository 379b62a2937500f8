"""Files are found through links, as web UIs find them, and links in circles end."""

from __future__ import annotations

from pathlib import Path

from erasure.file_tree import files_below, walk


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in files_below(folder)]


def put(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


def test_linked_folders_and_files_are_seen_under_their_own_names(tmp_path: Path) -> None:
    models, disk = tmp_path / "models", tmp_path / "disk"
    put(models / "a.txt", disk / "sub" / "b.txt", tmp_path / "blob")
    (models / "linked").symlink_to(disk, target_is_directory=True)
    (models / "c.txt").symlink_to(tmp_path / "blob")
    assert found(models) == ["a.txt", "c.txt", "linked/sub/b.txt"]


def test_a_folder_may_itself_be_a_link(tmp_path: Path) -> None:
    put(tmp_path / "disk" / "a.txt")
    (tmp_path / "models").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert found(tmp_path / "models") == ["a.txt"]


def test_links_in_circles_end(tmp_path: Path) -> None:
    folders = [tmp_path / f"{i}" for i in range(8)]
    put(*(folder / "x.txt" for folder in folders))
    for one in folders:
        for other in (*folders, tmp_path):
            (one / f"to-{other.name}").symlink_to(other, target_is_directory=True)
    names = found(tmp_path)
    assert {f"{folder.name}/x.txt" for folder in folders} <= set(names)
    assert len(names) <= 2 * len(folders)


def test_a_link_that_leads_nowhere_and_a_missing_folder_are_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path) == ["gone.txt"]
    assert found(tmp_path / "missing") == []


def test_folders_that_are_taken_out_are_not_entered(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.txt", tmp_path / "b" / "y.txt")
    seen = []
    for place, folders, files in walk(tmp_path):
        if "a" in folders:
            folders.remove("a")
        seen += [(place / name).name for name in files]
    assert seen == ["y.txt"]
