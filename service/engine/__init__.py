"""Token ids in, token ids and log-probabilities out. Knows no HTTP and no text."""

import os

# Builds of ONNX Runtime from 1.29 on send what they see of a model and a machine to their maker
# unless this is set before the library is first used. A service that works offline and keeps what
# it is given to itself must not; every module that uses the library is in this package or below it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
