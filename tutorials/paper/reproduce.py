"""Repeat the experiment of Kalda, Green & Ghosh 2023 on every snapshot of a folder.

    python tutorials/paper/reproduce.py FOLDER [--presets fast,paper-small] [--stars N] --out paper

The same as ``deeppot paper --snapshots FOLDER/*.npz ...``; an interrupted run goes on when it is called again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import deeppot_galactic as dg
from deeppot_galactic.paper import reproduce
from deeppot_galactic.paper.tables import balls, discs, markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--presets", default="fast,paper-small")
    parser.add_argument("--volumes", default="")
    parser.add_argument("--stars", type=int, default=None)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    found = {path: dg.read_truth(path) for path in sorted(options.folder.glob("*.npz"))}
    snapshots = [path for path, truth in found.items() if truth and truth.omega is not None and truth.bar_angle is not None]
    only = [name.strip() for name in options.volumes.split(",") if name.strip()]
    presets = options.presets.split(",")
    done = reproduce(snapshots, options.out, presets=presets, only=only, stars=options.stars, resume=True, announce=print)
    for table in (discs(done.rows), balls(done.rows)):
        print(markdown(table), end="\n\n")
    print(done.page)


if __name__ == "__main__":
    main()
