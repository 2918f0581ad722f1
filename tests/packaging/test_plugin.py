"""
The plugin module costs a C{twistd --help} next to nothing, because it imports next to nothing.

It is the modules that are asserted, not a time: a time would fail on a busy machine and pass on a
fast one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.packaging.environment import ROOT, run

# What would be felt, and what of mxproxy would bring it along.
HEAVY = (
    "OpenSSL",
    "cryptography",
    "google.protobuf",
    "grpc",
    "service_identity",
    "twisted.internet.endpoints",
    "twisted.internet.reactor",
    "twisted.internet.ssl",
    "twisted.protocols.tls",
    "yaml",
)
# An addition here has to be as light as these.
LIGHT = {"mxproxy", "mxproxy.interfaces", "mxproxy.plugins", "twisted.plugins.mxproxy_plugin"}


def modulesAfter(code: str) -> list[str]:
    """
    The modules that a fresh interpreter has loaded when it has run the code.
    """
    paths = [str(ROOT), str(ROOT / "src")]
    script = f"""
import json, sys
sys.path[:0] = {paths!r}
{code}
print(json.dumps(sorted(sys.modules)))
"""
    modules: list[str] = json.loads(run([sys.executable, "-c", script], Path.cwd()))
    return modules


class PluginTests(SynchronousTestCase):
    """
    C{twisted/plugins/mxproxy_plugin.py}.
    """

    def test_provides(self) -> None:
        """
        It registers a service maker of the name that the command line uses.
        """
        from twisted.plugins.mxproxy_plugin import mxproxyService

        verifyObject(IPlugin, mxproxyService)
        verifyObject(IServiceMaker, mxproxyService)
        self.assertEqual(
            (mxproxyService.tapname, mxproxyService.module), ("mxproxy", "mxproxy.tap")
        )

    def test_ownImports(self) -> None:
        """
        Beyond what twistd has loaded by then, it imports only what is known to be light.
        """
        before = modulesAfter("import twisted.application.app, twisted.plugin, twisted.plugins")
        after = modulesAfter(
            "import twisted.application.app, twisted.plugin, twisted.plugins.mxproxy_plugin"
        )
        self.assertEqual(sorted(set(after) - set(before) - LIGHT), [])
        self.assertIn("twisted.plugins.mxproxy_plugin", after)

    def test_nothingHeavy(self) -> None:
        """
        When twistd has collected its commands, and so loaded every plugin, nothing heavy and no
        working part of mxproxy is loaded.
        """
        modules = modulesAfter(
            "from twisted.plugin import getPlugins\n"
            "from twisted.application.service import IServiceMaker\n"
            "names = [plugin.tapname for plugin in getPlugins(IServiceMaker)]\n"
            "assert names.count('mxproxy') == 1, names\n"
        )
        ours = {name for name in modules if name.startswith("mxproxy.")}
        self.assertEqual(sorted(ours - LIGHT), [])
        self.assertEqual([name for name in HEAVY if name in modules], [])
