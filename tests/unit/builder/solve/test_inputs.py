"""Sources of files as directories: what becomes a tree of the store, and what does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.solving import open_services

from firkin.builder.solve.inputs import materialize
from firkin.builder.solve.result import Files
from firkin.errors import ContextError
from firkin.layer.change import Content
from firkin.layer.view import DirectoryView


@pytest.mark.parametrize("change", ["nothing", "content", "another file"])
def test_files_that_change_while_they_are_copied_get_no_name(tmp_path: Path, change: str) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "f").write_text("1")

    class Meddled(DirectoryView):
        def content(self, path: str) -> Content:
            if change == "content" and self.asked:
                (context / "f").write_text("2")
            if change == "another file" and self.asked:
                (context / "g").write_text("3")
            self.asked += 1
            return super().content(path)

        asked = 0

    files = Files(Meddled(str(context)))
    with open_services(tmp_path / "store") as services:
        if change == "nothing":
            tree = materialize(services, files)
            assert Path(tree, "f").read_text() == "1"
            return
        with pytest.raises(ContextError, match="changed while it was copied"):
            materialize(services, files)
        layout = services.store.layout
        assert os.listdir(layout.trees) == os.listdir(layout.scratch) == []
