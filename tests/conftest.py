"""Settings of the test tools that have no place in pyproject.toml."""

import os

from hypothesis import settings

# Read by torch when it is first imported, which no test module has done yet, and by every process
# that a test starts. Models this small gain nothing from more threads, and two threads beside a
# busy neighbour wait for each other: seven seconds of training took over two minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A deadline for each example would measure a machine's neighbours rather than the code. All else
# stays as hypothesis chose it, which under CI=true means the same examples on every run.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")
