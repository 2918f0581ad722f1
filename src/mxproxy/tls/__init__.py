"""
TLS, apart from the connection that it runs on: settings, contexts, whom to trust, and why a handshake failed.
"""
