"""Join figures of a run side by side: the picture of the README. Usage: python docs/demo_picture.py RUN docs/images/demo.png"""

import sys
from pathlib import Path

from PIL import Image

FIGURES = ("stars", "matter", "resonances")
WIDTH = 1800


def main(run: str, out: str) -> None:
    """Paste the figures in a row at their own scale, aligned at the top, and shrink the row."""
    pictures = [Image.open(Path(run) / "figures" / f"{name}.png").convert("RGB") for name in FIGURES]
    row = Image.new("RGB", (sum(picture.width for picture in pictures), max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    row = row.resize((WIDTH, round(row.height * WIDTH / row.width)), Image.Resampling.LANCZOS)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    row.save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
