"""Answer every request with the commit that the image was built from."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

COMMIT = os.environ.get("COMMIT") or "unknown"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{COMMIT}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    HTTPServer(("0.0.0.0", 3000), Handler).serve_forever()
