"""Settings of the test tools that have no place in pyproject.toml."""

from hypothesis import settings

# A deadline for each example would measure a machine's neighbours rather than the code. All else
# stays as hypothesis chose it, which under CI=true means the same examples on every run.
settings.register_profile("without-deadline", deadline=None)
settings.load_profile("without-deadline")
