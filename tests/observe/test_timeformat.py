"""
Moments are written as Envoy 1.40 wrote them, asked for each of these formats.
"""

from __future__ import annotations

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from mxproxy.observe.timeformat import compileTime

# 2026-11-23T16:23:45.962686Z
MOMENT = 1795451025.962686

#: What Envoy made of that moment.
ENVOYS = {
    "": "2026-11-23T16:23:45.962Z",
    "%Y-%m-%dT%H:%M:%S.%6fZ": "2026-11-23T16:23:45.962686Z",
    "%s.%3f": "1795451025.962",
    "%s": "1795451025",
    "%10s": "1795451025",
    "%0s": "1795451025",
    "%f": "962686000",
    "%1f": "9",
    "%1fZ%2f": "9Z96",
    "%9f": "962686000",
    "%E3S": "45.962",
    "%E0S": "45",
    "%E6S": "45.962686",
    "%E15S": "45.962686000000000",
    "%E*S": "45.962686",
    "%E3f": "962",
    "%E*f": "962686",
    "%Ez": "+00:00",
    "%E*z": "+00:00:00",
    "%:z": "+00:00",
    "%z": "+0000",
    "%Z": "UTC",
    "%E4Y": "2026",
    "%EY %Ey": "2026 26",
    "%D %T": "11/23/26 16:23:45",
    "%j %e %u": "327 23 1",
    "%b %-d, %I:%M %p": "Nov 23, 04:23 PM",
    "%%s%%": "%s%",
    "é (x)": "é (x)",
    "%": "%",
}


class TimeTests(SynchronousTestCase):
    def test_asEnvoy(self) -> None:
        self.assertEqual({format: compileTime(format)(MOMENT) for format in ENVOYS}, ENVOYS)

    def test_wholeSecond(self) -> None:
        """
        Of no fraction nothing is left, or a zero where there has to be something.
        """
        self.assertEqual(compileTime("%E*S|%E*f|%E2S|%3f")(5.0), "05|0|05.00|000")

    def test_cutNotRounded(self) -> None:
        self.assertEqual(compileTime()(1767225600.9999), "2026-01-01T00:00:00.999Z")

    def test_newlines(self) -> None:
        """
        A moment is part of a line.
        """
        for format in ("%n", "%-n", "%0n", "%En", "%3n", "a\nb"):
            error = self.assertRaises(ValueError, compileTime, format)
            self.assertEqual(str(error), "a moment cannot contain the end of a line")

    def test_local(self) -> None:
        """
        In the machine's time zone, which the default says.
        """

        def restore(before: str | None = os.environ.get("TZ")) -> None:
            os.environ.pop("TZ", None)
            if before is not None:
                os.environ["TZ"] = before
            time.tzset()

        self.addCleanup(restore)
        os.environ["TZ"] = "XST-5:30"
        time.tzset()
        self.assertEqual(compileTime(local=True)(MOMENT), "2026-11-23T21:53:45.962+0530")
        self.assertEqual(
            compileTime("%H%Ez %s %E*z", local=True)(MOMENT), "21+05:30 1795451025 +05:30:00"
        )
        self.assertEqual(compileTime("%H")(MOMENT), "16")
