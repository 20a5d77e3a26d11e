"""CPU-heavy work in a child process: it blocks no other job, shows its progress, and can be cancelled.

python examples/image_job.py            # writes mandelbrot.pgm
cd examples && rowqueue work image_job:app
"""

from __future__ import annotations

import os
from pathlib import Path

import rowqueue

app = rowqueue.App(os.environ.get("DATABASE_URL", "sqlite:///images.db"))


@app.job(queue="images", process=True, timeout=600, max_attempts=3)  # without process=True: in a thread
def render(context: rowqueue.Context, path: str, width: int, height: int, depth: int = 100) -> dict[str, int]:
    """Draw the Mandelbrot set as a grey picture, row by row."""
    rows: list[bytes] = []
    for y in range(height):
        if context.cancelled:
            raise rowqueue.Cancel(f"stopped at row {y}")
        rows.append(bytes(_grey(x, y, width, height, depth) for x in range(width)))
        if (y + 1) % max(1, height // 10) == 0:  # each is a write to the database: not for every row
            context.progress((y + 1) / height, f"row {y + 1} of {height}")
    picture = Path(path)
    part = picture.with_suffix(".part")
    part.write_bytes(b"P5 %d %d 255\n" % (width, height) + b"".join(rows))
    part.replace(picture)  # an attempt that dies in between leaves no half of a picture
    return {"bytes": picture.stat().st_size}


def _grey(x: int, y: int, width: int, height: int, depth: int) -> int:
    c = complex(3.0 * x / width - 2.2, 2.4 * y / height - 1.2)
    z = 0j
    for step in range(depth):
        z = z * z + c
        if abs(z) > 2:
            return 255 - 255 * step // depth
    return 0


def main() -> None:
    app.init()
    made = render.enqueue("mandelbrot.pgm", 120, 80)
    rowqueue.Worker(app, drain=True).run()
    job = app.store.get(made.job.id)
    assert job is not None
    print(job.state, job.result, job.progress)
    app.close()


if __name__ == "__main__":
    main()
