"""The Wix client: tokens, one request per app instance, and the wire format."""
