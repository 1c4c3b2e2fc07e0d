"""Known vulnerabilities of what the image installs, where the database of them can be reached.

    python -m tests.audit

Exit code 1 where there are any; where nothing can be asked, a line says so, and `make check` goes
on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCK = Path(__file__).parents[1] / "deploy" / "requirements.lock"
_UNREACHABLE = ("requests.exceptions.", "urllib3.exceptions.", "ServiceError", "ConnectionError")


def verdict(code: int, out: str, err: str) -> tuple[int, str]:
    """(exit code, what to say) of pip-audit's own exit code, its JSON and its complaints."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(out)["dependencies"]
    except (ValueError, LookupError, TypeError):
        if any(name in err for name in _UNREACHABLE):
            return 0, "pip-audit: its database cannot be reached from here; nothing was audited"
        return code or 1, f"pip-audit failed:\n{err}"
    audited = [each for each in dependencies if "skip_reason" not in each]
    found = [
        f"{each['name']} {each['version']}: {fault['id']}, mended in "
        f"{', '.join(fault['fix_versions']) or 'no version yet'}"
        for each in audited
        for fault in each["vulns"]
    ]
    if found:
        return 1, "\n".join(["pip-audit:", *found])
    if not audited:
        return 0, "pip-audit: the index here has no database of vulnerabilities; nothing audited"
    return 0, f"pip-audit: {len(audited)} of {len(dependencies)} dependencies known, none at fault"


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--require-hashes"]
    command += ["--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    code, said = verdict(ended.returncode, ended.stdout, ended.stderr)
    print(said)
    return code


if __name__ == "__main__":
    sys.exit(main())
