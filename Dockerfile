# syntax=docker/dockerfile:1

# The same Python in every stage: a virtual environment moves between them by copying. For a release,
# pin it by its digest, which `docker buildx imagetools inspect python:3.13-slim-trixie` prints:
#   docker build --build-arg PYTHON_IMAGE=python:3.13-slim-trixie@sha256:... --target service .
ARG PYTHON_IMAGE=python:3.13-slim-trixie
# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app
RUN groupadd --gid 10001 lstm && useradd --uid 10001 --gid lstm --no-create-home --home-dir /tmp lstm


# The lock and pyproject.toml alone: a change of code does not install the dependencies anew. Each
# file must have the hash that `make lock` has written down, and none runs code to be built; the
# package itself, which is its entry points, is built with what the lock holds.
FROM base AS service-environment
RUN python -m venv /opt/venv
COPY deploy/requirements.lock ./
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml LICENSE ./
RUN pip install --no-cache-dir --no-deps --no-build-isolation .


# Where the index offers several builds of torch, point PIP_EXTRA_INDEX_URL at the one with
# CPU builds: pip then prefers it, and the image stays gigabytes smaller.
FROM service-environment AS training-environment
ARG PIP_EXTRA_INDEX_URL
# The package is this folder, and its requirements stand in pyproject.toml.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir torch==2.13.0 \
    && pip install --no-cache-dir .[train]


FROM base AS training
COPY --from=training-environment /opt/venv /opt/venv
COPY models ./models
COPY training ./training
# A named volume takes this folder's owner over, so that a run may write into it.
RUN install --directory --owner=lstm --group=lstm /runs
USER 10001:10001
# matplotlib wants a folder for its font cache, and the root file system may be read-only.
ENV MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]


FROM base AS service
COPY --from=service-environment /opt/venv /opt/venv
COPY models ./models
COPY service ./service
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=2)"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
