"""Bounded HTTP for a provider that wants a token first: the one POST there is. What a token is good for is not here."""

import json
from collections.abc import Mapping
from typing import Any

from credit_pipeline.adapters.billing.http.client import BoundedHttp, Reply


class TokenHttp(BoundedHttp):
    """GET, and a POST to `token_path`."""

    def __init__(self, *, token_path: str, **settings: Any) -> None:
        super().__init__(**settings)
        self._token_path = token_path

    def post_token(self, payload: Mapping[str, str], *, end: float) -> Reply:
        """Asks for a token, not repeated. Raises Trouble."""
        headers = {"Content-Type": "application/json"}
        content = json.dumps(payload).encode()
        return self._exchange("POST", self._token_path, headers=headers, content=content, end=end)
