"""The HTTP client for a provider that requires an access token: GET, and one POST that requests a token."""

import json
from collections.abc import Mapping
from typing import Any

from credit_pipeline.adapters.billing.http.client import BoundedHttp, Reply


class TokenHttp(BoundedHttp):
    """A BoundedHttp that can also POST to `token_path`."""

    def __init__(self, *, token_path: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._token_path = token_path

    def post_token(self, payload: Mapping[str, str], *, end: float) -> Reply:
        """Requests a token, without retries. Raises RequestError."""
        headers = {"Content-Type": "application/json"}
        with self._sent("POST", self._token_path, end, headers, json.dumps(payload).encode()) as response:
            return self._read(response)
