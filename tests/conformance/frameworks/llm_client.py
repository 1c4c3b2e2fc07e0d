"""`llm` on the command line, with a model of this service in its file of further models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

program = Path(sys.executable).with_name("llm")
with tempfile.TemporaryDirectory() as folder:
    described = {
        "model_id": "lstm",
        "model_name": os.environ["MODEL"],
        "api_base": os.environ["BASE_URL"],
        "api_key_name": "lstm",  # else no key is sent
    }
    # JSON is YAML, too.
    (Path(folder) / "extra-openai-models.yaml").write_text(json.dumps([described]), "utf-8")
    environment = {**os.environ, "LLM_USER_PATH": folder}
    asked = [str(program), "-m", "lstm", "--key", os.environ["API_KEY"], "-o", "seed", "7"]
    asked += ["-o", "max_tokens", "16", "-s", "Be kind.", "Hello, how are you?"]
    answers = [
        subprocess.run(
            [*asked, *more], env=environment, check=True, capture_output=True, text=True
        ).stdout.strip()
        for more in ([], ["--no-stream"])
    ]
    assert answers[0]
    assert answers[0] == answers[1]
    follow = subprocess.run(
        [str(program), "-c", "--key", os.environ["API_KEY"], "And then?"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert follow.stdout.strip()
print("ok")
