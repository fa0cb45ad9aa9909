"""Writes the commit into wheels; everything else is in pyproject.toml."""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    def run(self) -> None:
        super().run()
        here = Path(__file__).resolve().parent
        if self.editable_mode or not (here / ".git").exists():
            return
        words = ["git", "-C", str(here), "rev-parse", "--short", "HEAD"]
        try:
            commit = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return
        (Path(self.build_lib) / "streamer" / "system" / "commit.txt").write_text(commit, "ascii")


setup(cmdclass={"build_py": BuildWithCommit})
