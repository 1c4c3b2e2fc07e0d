"""Headers of the pages that a browser shows: what they may load, and who may show them.

Files of this service and requests to this service, nothing from elsewhere, no frame around them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping

_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def page_headers(
    *, scripts: str = "", styles: str = "", images: str = "", cache: str = "no-cache"
) -> Mapping[str, str]:
    """scripts, styles, images: sources that a page needs beside this service's own files."""
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' {scripts}",
        "style-src": f"'self' {styles}",
        "img-src": f"'self' {images}",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "content-security-policy": "; ".join(f"{k} {v.strip()}" for k, v in policy.items()),
        "cross-origin-opener-policy": "same-origin",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "cache-control": cache,
    }


def script_hashes(page: str) -> str:
    """Sources that allow the very scripts that stand in `page`, and no others."""
    digests = (hashlib.sha256(s.encode()).digest() for s in _INLINE_SCRIPT.findall(page))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
