# SPDX-License-Identifier: MIT
"""A guest that boots under Keel in a test: its serial port as text, its monitor, its screen.

$KEEL_BUILD is the build directory, $KEEL_ACCEL the accelerator ("tcg").
"""
import http.server
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "functional"))
from keel import Failure, Process, expect, expect_in, main  # noqa: E402,F401

ACCEL = os.environ.get("KEEL_ACCEL", "tcg")


def serve_bytes(data, host, port=0):
    """A web server, until the test ends, that answers everything with data; its port."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((host, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


class Guest:
    """Starts a PC with its serial port in a file. bed: keel.Bed. name: where there are several."""

    def __init__(self, bed, *args, memory=256, accel=ACCEL, name=""):
        self.bed = bed
        self.serial = bed.path(name + "serial")
        self.control = bed.path(name + "qmp")
        open(self.serial, "w").close()
        self.proc = bed.start("-M", "pc", "-accel", accel, "-m", str(memory), "-nodefaults",
                              "-display", "none", "-serial", "file:" + self.serial,
                              "-qmp", "unix:%s,server=on,wait=off" % self.control, *args)
        self.monitor = None

    def text(self):
        with open(self.serial, "rb") as f:
            return f.read().decode(errors="replace")

    def ended(self):
        return self.proc.proc.poll() is not None

    def wait(self, what, seconds=120):
        """Until what (a string) stands on the serial port; returns all of the text so far."""
        end = time.time() + seconds
        while True:
            text = self.text()
            if what in text:
                return text
            if self.ended():
                text = self.text()
                if what in text:
                    return text
                raise Failure("keel ended with %d before %r: %s\n%s" % (
                    self.proc.proc.returncode, what, self.proc.output(), text[-2000:]))
            if time.time() > end:
                raise Failure("no %r after %d s:\n%s" % (what, seconds, text[-3000:]))
            time.sleep(0.05)

    def finish(self, seconds=60):
        """Waits for the guest to switch itself off."""
        code = self.proc.wait(seconds)
        expect("exit code", code, 0)
        return self.text()

    def qmp(self):
        if not self.monitor:
            self.monitor = self.proc.qmp(self.control)
        return self.monitor

    def hmp(self, line):
        return self.qmp().hmp(line)
